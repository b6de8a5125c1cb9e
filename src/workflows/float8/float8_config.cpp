// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "config/config_fields.h"
#include "core/attribute_values.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.h"
#include "workflows/float8/float8_tensor.h"
#include "workflows/float8/prototype_float8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kE4M3Json = R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"})";
constexpr std::string_view kAutoJson = R"({"_type": "KernelPreference", "_data": "AUTO"})";
constexpr std::string_view kPlainJson = R"({"_type": "Float8PackingFormat", "_data": "PLAIN"})";

constexpr std::array<FieldSpec, 3> kWeightOnlyFields{{
    {"weight_dtype", kE4M3Json},
    {"set_inductor_config", "true"},
    {"granularity", "null"},
}};

constexpr std::array<FieldSpec, 10> kDynamicFields{{
    {"activation_dtype", kE4M3Json},
    {"weight_dtype", kE4M3Json},
    {"granularity", "null"},
    {"packing_format", kPlainJson},
    {"mm_config", "null"},
    {"activation_value_lb", "null"},
    {"activation_value_ub", "null"},
    {"kernel_preference", kAutoJson},
    {"set_inductor_config", "true"},
    {"alg_id", "0"},
}};

constexpr std::array<FieldSpec, 10> kStaticFields{{
    {"step", "null"},
    {"act_quant_scale", "null"},
    {"activation_dtype", kE4M3Json},
    {"weight_dtype", kE4M3Json},
    {"granularity", "null"},
    {"mm_config", "null"},
    {"kernel_preference", kAutoJson},
    {"set_inductor_config", "true"},
    {"quantize_and_dequantize_output", "false"},
    {"output_act_quant_scale", "null"},
}};

constexpr std::array<std::string_view, 5> kQuantizationSteps{
    "prepare", "convert", "prepare_for_loading", "prepare_for_smoothquant_smoothing_factor",
    "prepare_for_smoothquant_activation_scales"};

// torch._scaled_mm takes nothing else; torchao leaves such weights alone.
constexpr std::int64_t kAlignment = 16;

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

bool is_block(const Json& granularity, std::int64_t rows) {
  return has_type(granularity, {"PerBlock"}) && granularity.contains("_data") &&
         granularity["_data"].is_object() &&
         granularity["_data"].value("block_size", Json()) == Json::array({rows, 128});
}

bool is_block_pair(const Json& pair) { return is_block(pair[0], 1) && is_block(pair[1], 128); }

Json default_mm_config(bool use_fast_accum) {
  return Json{
      {"_type", "Float8MMConfig"},
      {"_version", 1},
      {"_data",
       Json{{"emulate", false}, {"use_fast_accum", use_fast_accum}, {"pad_inner_dim", false}}}};
}

std::string printed_list(const Json& list) {
  std::string text;
  for (const Json& item : list) text += (text.empty() ? "" : ", ") + printed(item);
  return "[" + text + "]";
}

// torchao's _normalize_granularity: null, one for both, or a list of two [activation, weight].
Json activation_and_weight(const Json& granularity) {
  if (granularity.is_null()) {
    const Json tensor = granularity_to_json(PerTensor{});
    return Json::array({tensor, tensor});
  }
  if (has_type(granularity, {"PerTensor", "PerRow"}))
    return Json::array({granularity, granularity});
  if (!granularity.is_array() || granularity.size() != 2) {
    fail(fmt::format("Invalid granularity specification: {}.",
                     granularity.is_array() ? printed_list(granularity) : printed(granularity)));
  }
  const bool fits =
      (has_type(granularity[0], {"PerTensor"}) && has_type(granularity[1], {"PerTensor"})) ||
      (has_type(granularity[0], {"PerRow"}) && has_type(granularity[1], {"PerRow"})) ||
      is_block_pair(granularity);
  if (!fits) fail(fmt::format("Unsupported granularity types: {}.", printed_list(granularity)));
  return granularity;
}

void check_weight_only(ConfigData& data, int /*version*/) {
  Json& granularity = data.fields["granularity"];
  if (granularity.is_null()) granularity = granularity_to_json(PerRow{});
  if (!has_type(granularity, {"PerTensor", "PerRow", "PerGroup"})) {
    fail(fmt::format("granularity must be PerTensor, PerRow, or PerGroup, got {}",
                     printed(granularity)));
  }
}

void check_dynamic(ConfigData& data, int version) {
  Json& granularity = data.fields["granularity"];
  granularity = activation_and_weight(granularity);
  bool use_fast_accum = true;
  if (is_block_pair(granularity)) {
    const KernelPreference preference = get_kernel_preference(data, "kernel_preference");
    if (preference != KernelPreference::kAuto && preference != KernelPreference::kTorch) {
      fail(fmt::format(
          "unimplemented: kernel_preference {} with PerBlock([1, 128]) and PerBlock([128, 128]); "
          "expected AUTO or TORCH",
          kernel_preference_name(preference)));
    }
    if (version < 2)
      fail(fmt::format("unimplemented: version {} with PerBlock granularities; expected 2",
                       version));
    use_fast_accum = false;
  }
  Json& mm_config = data.fields["mm_config"];
  if (mm_config.is_null()) mm_config = default_mm_config(use_fast_accum);
}

void check_static(ConfigData& data, int /*version*/) {
  Json& mm_config = data.fields["mm_config"];
  if (mm_config.is_null()) mm_config = default_mm_config(true);
  Json& step = data.fields["step"];
  if (step.is_null()) return;
  std::string lower = step.is_string() ? step.get<std::string>() : printed(step);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (std::find(kQuantizationSteps.begin(), kQuantizationSteps.end(), lower) ==
      kQuantizationSteps.end()) {
    fail(fmt::format("{} is not one of [{}]", lower, fmt::join(kQuantizationSteps, ", ")));
  }
  step = lower;
}

void require_version_2(const AOBaseConfig& config) {
  if (config.version() != 2) {
    fail(fmt::format("{}: Unexpected version: {}; expected 2", config.type_name(),
                     config.version()));
  }
}

std::optional<Float8MMConfig> mm_config_field(const ConfigData& data) {
  const Json& value = data.fields["mm_config"];
  if (value.is_null()) return std::nullopt;
  const auto flag = [&](const char* name) {
    const Json* field =
        has_type(value, {"Float8MMConfig"}) && value.contains("_data") && value["_data"].is_object()
            ? find_value(value["_data"], name)
            : nullptr;
    if (field == nullptr || !field->is_boolean()) {
      fail(fmt::format("field 'mm_config' is {}; expected a Float8MMConfig with a boolean '{}'",
                       value.dump(), name));
    }
    return field->get<bool>();
  };
  return Float8MMConfig{flag("emulate"), flag("use_fast_accum"), flag("pad_inner_dim")};
}

// One number inside any depth of one-element lists, as many dimensions as lists.
Tensor one_number(const ConfigData& data, std::string_view field) {
  const Json& whole = data.fields[std::string(field)];
  if (whole.is_null()) return {};
  const Json* value = &whole;
  Shape shape;
  while (value->is_array() && value->size() == 1) {
    value = &(*value)[0];
    shape.push_back(1);
  }
  if (!value->is_number()) {
    fail(fmt::format("{} is {}; expected null or one number such as [[0.0137]]", field,
                     whole.dump()));
  }
  const std::array<float, 1> number{value->get<float>()};
  return Tensor::from_values<float>(DType::kFloat32, shape, number);
}

// The dtype of activation codes; that of weight codes is checked where the weight is quantized.
void check_activation_dtype(DType dtype) {
  if (dtype != DType::kFloat8E4M3FN && dtype != DType::kFloat8E5M2) {
    throw UnsupportedError(fmt::format(
        "activation_dtype is {}; expected float8_e4m3fn or float8_e5m2", dtype_name(dtype)));
  }
}

QuantizeResult quantize_weight_only(const AOBaseConfig& config, const Tensor& weight) {
  require_version_2(config);
  const auto c = Float8WeightOnlyConfig::from_data(config.data());
  Float8Options options;
  options.float8_dtype = c.weight_dtype;
  options.granularity = c.granularity;
  return {Float8Tensor::from_hp(weight, options), {}};
}

QuantizeTensorToFloat8Kwargs activation_kwargs(const Float8DynamicActivationFloat8WeightConfig& c) {
  check_activation_dtype(c.activation_dtype);
  return {.float8_dtype = c.activation_dtype,
          .granularity = c.act_granularity,
          .mm_config = std::nullopt,
          .hp_value_lb = c.activation_value_lb,
          .hp_value_ub = c.activation_value_ub,
          .kernel_preference = kernel_preference_name(c.kernel_preference)};
}

QuantizeResult quantize_sparse_2d(const Float8DynamicActivationFloat8WeightConfig& c,
                                  const Tensor& weight) {
  if (!std::holds_alternative<PerRow>(c.weight_granularity) ||
      c.weight_dtype != DType::kFloat8E4M3FN) {
    throw UnsupportedError(fmt::format(
        "SPARSE_2D_DATA_2D_METADATA takes PerRow granularity and float8_e4m3fn weights, "
        "got {} and {}",
        to_string(c.weight_granularity), dtype_name(c.weight_dtype)));
  }
  Float8Attributes attributes;
  attributes.act_quant_kwargs = activation_kwargs(c);
  return {Float8Sparse2x4_2DData2DMetadataTensor::from_hp(weight, attributes), {}};
}

// hipSPARSELt's buffer is private and its numbers are those of dense float8 with one scale: the
// product of both scales multiplies the sum.
QuantizeResult quantize_sparse_1d(const Float8DynamicActivationFloat8WeightConfig& c,
                                  const Tensor& weight) {
  if (!std::holds_alternative<PerTensor>(c.weight_granularity) ||
      c.weight_dtype != DType::kFloat8E4M3FN) {
    throw UnsupportedError(fmt::format(
        "SPARSE_1D_DATA_1D_METADATA (ROCm) takes PerTensor granularity and float8_e4m3fn weights, "
        "got {} and {}",
        to_string(c.weight_granularity), dtype_name(c.weight_dtype)));
  }
  Float8Options options;
  options.granularity = PerTensor{};
  options.attributes.act_quant_kwargs = activation_kwargs(c);
  WeightTensorPtr quantized = Float8Tensor::from_hp(weight, options);
  check_2x4_sparsity(quantized->to_parts().find("qdata"), "SPARSE_1D_DATA_1D_METADATA");
  return {std::move(quantized),
          {},
          "Float8Tensor holds the codes of packing format SPARSE_1D_DATA_1D_METADATA, zeros "
          "included; its packed form belongs to hipSPARSELt"};
}

// torchao refuses this config without a GPU that multiplies float8; nothing in the arithmetic needs
// one.
QuantizeResult quantize_dynamic(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = Float8DynamicActivationFloat8WeightConfig::from_data(config.data());
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  if (n % kAlignment != 0 || k % kAlignment != 0) {
    return {
        nullptr,
        fmt::format("weight [{}, {}]: the float8 product takes multiples of {} in both dimensions",
                    n, k, kAlignment)};
  }
  require_version_2(config);
  if (c.packing_format == Float8PackingFormat::kSparse1dData1dMetadata)
    return quantize_sparse_1d(c, weight);
  if (c.packing_format == Float8PackingFormat::kSparse2dData2dMetadata)
    return quantize_sparse_2d(c, weight);
  if (std::holds_alternative<PerRow>(c.weight_granularity) && weight.dtype() != DType::kBFloat16) {
    throw UnsupportedError(
        fmt::format("{}: PerRow quantization only works for bfloat16 precision input weight, got "
                    "{}; use PerTensor or bfloat16",
                    config.type_name(), dtype_name(weight.dtype())));
  }
  Float8Options options;
  options.float8_dtype = c.weight_dtype;
  options.granularity = c.weight_granularity;
  options.attributes.mm_config = c.mm_config;
  options.attributes.kernel_preference = kernel_preference_name(c.kernel_preference);
  options.attributes.act_quant_kwargs = activation_kwargs(c);
  return {Float8Tensor::from_hp(weight, options), {}};
}

QuantizeResult quantize_static(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = Float8StaticActivationFloat8WeightConfig::from_data(config.data());
  if (c.step) {
    if (*c.step != "prepare" && *c.step != "convert") {
      fail(fmt::format("Unexpected step: {}. Expected one of prepare, convert or null", *c.step));
    }
    return {
        nullptr,
        fmt::format("step '{}' belongs to calibration in torchao; give act_quant_scale and no step",
                    *c.step)};
  }
  if (!c.act_quant_scale.defined()) {
    fail(
        "When step is None, act_quant_scale must be provided for direct quantization, e.g. "
        "[[0.0137]]");
  }
  if (c.quantizes_output) {
    throw UnsupportedError(fmt::format(
        "{}: output_act_quant_scale asks for a quantized output, which no linear here gives",
        config.type_name()));
  }
  if (!std::holds_alternative<PerTensor>(c.granularity)) {
    throw UnsupportedError(
        fmt::format("{}: granularity is {}; a fixed activation scale takes PerTensor",
                    config.type_name(), to_string(c.granularity)));
  }
  check_activation_dtype(c.activation_dtype);
  Float8Attributes attributes;
  attributes.mm_config = c.mm_config;
  attributes.kernel_preference = kernel_preference_name(c.kernel_preference);
  attributes.act_quant_kwargs = QuantizeTensorToFloat8Kwargs{
      .float8_dtype = c.activation_dtype,
      .granularity = PerTensor{},
      .mm_config = c.mm_config,
      .hp_value_lb = std::nullopt,
      .hp_value_ub = std::nullopt,
      .kernel_preference = kernel_preference_name(c.kernel_preference)};
  return {PrototypeFloat8Tensor::from_hp(weight, c.weight_dtype, attributes, c.act_quant_scale),
          {}};
}

constexpr std::array<const WeightTensorType*, 1> kWeightOnlyClasses{&kFloat8TensorType};
constexpr std::array<const WeightTensorType*, 2> kDynamicClasses{
    &kFloat8TensorType, &kFloat8Sparse2x4_2DData2DMetadataTensorType};
constexpr std::array<const WeightTensorType*, 1> kStaticClasses{&kPrototypeFloat8TensorType};

}  // namespace

Float8WeightOnlyConfig Float8WeightOnlyConfig::from_data(const ConfigData& data) {
  return {get_dtype(data, "weight_dtype"), get_granularity(data, "granularity")};
}

Float8DynamicActivationFloat8WeightConfig Float8DynamicActivationFloat8WeightConfig::from_data(
    const ConfigData& data) {
  const Json pair = activation_and_weight(data.fields["granularity"]);
  Float8DynamicActivationFloat8WeightConfig c;
  c.activation_dtype = get_dtype(data, "activation_dtype");
  c.weight_dtype = get_dtype(data, "weight_dtype");
  c.act_granularity = granularity_from_json(pair[0], "granularity");
  c.weight_granularity = granularity_from_json(pair[1], "granularity");
  c.packing_format = get_float8_packing_format(data, "packing_format");
  c.mm_config = mm_config_field(data);
  c.activation_value_lb = get_optional_double(data, "activation_value_lb");
  c.activation_value_ub = get_optional_double(data, "activation_value_ub");
  c.kernel_preference = get_kernel_preference(data, "kernel_preference");
  return c;
}

Float8StaticActivationFloat8WeightConfig Float8StaticActivationFloat8WeightConfig::from_data(
    const ConfigData& data) {
  Float8StaticActivationFloat8WeightConfig c;
  c.step = get_optional_string(data, "step");
  c.act_quant_scale = one_number(data, "act_quant_scale");
  c.activation_dtype = get_dtype(data, "activation_dtype");
  c.weight_dtype = get_dtype(data, "weight_dtype");
  if (!data.fields["granularity"].is_null()) c.granularity = get_granularity(data, "granularity");
  c.mm_config = mm_config_field(data);
  c.kernel_preference = get_kernel_preference(data, "kernel_preference");
  c.quantizes_output = one_number(data, "output_act_quant_scale").defined();
  return c;
}

const ConfigType kFloat8WeightOnlyConfigType{
    .name = "Float8WeightOnlyConfig",
    .version = 2,
    .declares_version = true,
    .fields = kWeightOnlyFields,
    .post_init = &check_weight_only,
    .quantize_tensor = &quantize_weight_only,
    .unsupported = {},
    .summary = "float8 weights with one scale a row, tensor or group",
    .operation = "float8_weight_only",
    .weight_classes = kWeightOnlyClasses,
};

const ConfigType kFloat8DynamicActivationFloat8WeightConfigType{
    .name = "Float8DynamicActivationFloat8WeightConfig",
    .version = 2,
    .declares_version = true,
    .fields = kDynamicFields,
    .post_init = &check_dynamic,
    .quantize_tensor = &quantize_dynamic,
    .unsupported = {},
    .summary = "float8 weights, float8 activations quantized at run time",
    .operation = "float8_dynamic_activation_float8_weight",
    .weight_classes = kDynamicClasses,
};

const ConfigType kFloat8StaticActivationFloat8WeightConfigType{
    .name = "Float8StaticActivationFloat8WeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kStaticFields,
    .post_init = &check_static,
    .quantize_tensor = &quantize_static,
    .unsupported = {},
    .summary = "float8 weights, float8 activations with a given scale",
    .operation = "float8_static_activation_float8_weight",
    .weight_classes = kStaticClasses,
};

}  // namespace torchao_cpp
