// SPDX-License-Identifier: Apache-2.0
#include "workflows/int8/int8_config.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "config/config_fields.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/int8/int8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kPerRowJson =
    R"({"_type": "PerRow", "_version": 1, "_data": {"dim": -1}})";
constexpr std::string_view kSymmetricJson = R"({"_type": "MappingType", "_data": "SYMMETRIC"})";

constexpr std::array<FieldSpec, 3> kWeightOnlyFields{{
    {"group_size", "null"},
    {"granularity", kPerRowJson},
    {"set_inductor_config", "true"},
}};

constexpr std::array<FieldSpec, 5> kDynamicFields{{
    {"act_mapping_type", kSymmetricJson},
    {"weight_only_decode", "false"},
    {"granularity", kPerRowJson},
    {"set_inductor_config", "true"},
    {"reduce_range", "false"},
}};

constexpr std::array<FieldSpec, 6> kStaticFields{{
    {"act_quant_scale", "null"},
    {"act_quant_zero_point", "null"},
    {"granularity", kPerRowJson},
    {"act_mapping_type", kSymmetricJson},
    {"set_inductor_config", "true"},
    {"reduce_range", "false"},
}};

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

void refuse_version_1(std::string_view name, int version) {
  if (version == 1) {
    throw ConfigError(fmt::format("version 1 of {} has been removed, please use version 2", name),
                      "version_not_accepted");
  }
}

void check_weight_only(ConfigData& data, int version) {
  refuse_version_1("Int8WeightOnlyConfig", version);
  if (!data.fields["group_size"].is_null()) {
    const std::string got = data.fields["group_size"].dump();
    fail(
        fmt::format("Only support version 2 with group_size=None, got {0}. Use "
                    "granularity=PerGroup({0}) instead.",
                    got));
  }
  if (!has_type(data.fields["granularity"], {"PerTensor", "PerRow", "PerGroup"})) {
    fail(fmt::format("granularity must be PerTensor, PerRow, or PerGroup, but got {}",
                     printed(data.fields["granularity"])));
  }
}

// torchao's _normalize_granularity: null, one for both, or a list of two [activation, weight].
std::pair<Json, Json> activation_and_weight(const Json& granularity) {
  if (granularity.is_null()) {
    const Json row = granularity_to_json(PerRow{});
    return {row, row};
  }
  if (granularity.is_array()) {
    if (granularity.size() != 2) {
      fail(fmt::format("Granularity list must have exactly 2 elements, got {}: {}",
                       granularity.size(), printed(granularity)));
    }
    return {granularity[0], granularity[1]};
  }
  if (!granularity.is_object() || !granularity.contains("_type")) {
    fail(fmt::format(
        "Invalid granularity type: {}. Expected None, Granularity, or list of 2 Granularities.",
        printed(granularity)));
  }
  return {granularity, granularity};
}

void check_granularities(const Json& field) {
  const auto [activation, weight] = activation_and_weight(field);
  if (!has_type(activation, {"PerTensor", "PerRow"})) {
    fail(fmt::format(
        "Unsupported activation granularity type: {}. Only PerTensor and PerRow are supported.",
        printed(activation)));
  }
  if (has_type(activation, {"PerRow"}) && granularity_member(activation, "dim", -1) != -1) {
    fail(fmt::format("Only PerRow(dim=-1) is supported for activation quantization, got {}",
                     printed(activation)));
  }
  if (!has_type(weight, {"PerTensor", "PerRow"})) {
    fail(fmt::format(
        "Unsupported weight granularity type: {}. Only PerTensor and PerRow are supported.",
        printed(weight)));
  }
}

void check_act_mapping_type(const ConfigData& data, std::string_view config) {
  if (!is_enum_member(data.fields["act_mapping_type"], "MappingType",
                      {"SYMMETRIC", "ASYMMETRIC"})) {
    fail(fmt::format(
        "{} requires `act_mapping_type` in (MappingType.SYMMETRIC, MappingType.ASYMMETRIC), got {}",
        config, printed(data.fields["act_mapping_type"])));
  }
}

void check_dynamic(ConfigData& data, int version) {
  refuse_version_1("Int8DynamicActivationInt8WeightConfig", version);
  check_granularities(data.fields["granularity"]);
  check_act_mapping_type(data, "Int8DynamicActivationInt8WeightConfig");
}

void check_static(ConfigData& data, int /*version*/) {
  check_granularities(data.fields["granularity"]);
  check_act_mapping_type(data, "Int8StaticActivationInt8WeightConfig");
}

void require_version_2(const AOBaseConfig& config) {
  if (config.version() != 2) {
    fail(fmt::format("{}: Unexpected version: {}; expected 2", config.type_name(),
                     config.version()));
  }
}

// A null reduce_range is falsy in torchao.
bool is_true(const ConfigData& data, std::string_view field) {
  return !data.fields[std::string(field)].is_null() && get_bool(data, field);
}

QuantizeResult quantize_weight_only(const AOBaseConfig& config, const Tensor& weight) {
  require_version_2(config);
  Int8Options options;
  options.granularity = Int8WeightOnlyConfig::from_data(config.data()).granularity;
  return {Int8Tensor::from_hp(weight, options), {}};
}

QuantizeResult quantize_dynamic(const AOBaseConfig& config, const Tensor& weight) {
  require_version_2(config);
  const auto c = Int8DynamicActivationInt8WeightConfig::from_data(config.data());
  Int8Options options;
  options.granularity = c.weight_granularity;
  options.act_quant_kwargs =
      QuantizeTensorToInt8Kwargs{c.act_granularity, c.act_mapping_type, c.reduce_range};
  options.reduce_range = c.reduce_range;
  return {Int8Tensor::from_hp(weight, options), {}};
}

QuantizeResult quantize_static(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = Int8StaticActivationInt8WeightConfig::from_data(config.data());
  if (!c.act_quant_scale.defined()) {
    fail(
        "Int8StaticActivationInt8WeightConfig: act_quant_scale is null, so there is no scale to "
        "quantize activations with "
        "('NoneType' object has no attribute 'detach' in torchao); give one, e.g. [[0.03]], or use "
        "Int8DynamicActivationInt8WeightConfig");
  }
  Int8Options options;
  options.granularity = c.weight_granularity;
  options.act_quant_kwargs =
      QuantizeTensorToInt8Kwargs{c.act_granularity, c.act_mapping_type, c.reduce_range};
  options.act_quant_scale = c.act_quant_scale;
  options.act_quant_zero_point = c.act_quant_zero_point;
  options.reduce_range = c.reduce_range;
  return {Int8Tensor::from_hp(weight, options), {}};
}

// One number inside any depth of one-element lists, as many dimensions as lists.
Tensor one_number(const ConfigData& data, std::string_view field, DType dtype) {
  const Json* value = &data.fields[std::string(field)];
  if (value->is_null()) return {};
  Shape shape;
  while (value->is_array() && value->size() == 1) {
    value = &(*value)[0];
    shape.push_back(1);
  }
  const bool fits = dtype == DType::kInt8 ? value->is_number_integer() : value->is_number();
  if (!fits) {
    fail(fmt::format("{} is {}; expected null or one number such as [[0.03]]", field,
                     data.fields[std::string(field)].dump()));
  }
  if (dtype == DType::kFloat32) {
    const std::array<float, 1> v{value->get<float>()};
    return Tensor::from_values<float>(dtype, shape, v);
  }
  const auto number = value->get<std::int64_t>();
  if (number < -128 || number > 127) fail(fmt::format("{} is {}; expected an int8", field, number));
  const std::array<std::int8_t, 1> v{static_cast<std::int8_t>(number)};
  return Tensor::from_values<std::int8_t>(dtype, shape, v);
}

constexpr std::array<const WeightTensorType*, 1> kWeightClasses{&kInt8TensorType};

}  // namespace

Int8WeightOnlyConfig Int8WeightOnlyConfig::from_data(const ConfigData& data) {
  return {get_granularity(data, "granularity")};
}

Int8DynamicActivationInt8WeightConfig Int8DynamicActivationInt8WeightConfig::from_data(
    const ConfigData& data) {
  const auto [activation, weight] = activation_and_weight(data.fields["granularity"]);
  Int8DynamicActivationInt8WeightConfig c;
  c.act_mapping_type = get_mapping_type(data, "act_mapping_type");
  c.act_granularity = granularity_from_json(activation, "granularity");
  c.weight_granularity = granularity_from_json(weight, "granularity");
  c.reduce_range = is_true(data, "reduce_range");
  return c;
}

Int8StaticActivationInt8WeightConfig Int8StaticActivationInt8WeightConfig::from_data(
    const ConfigData& data) {
  const auto [activation, weight] = activation_and_weight(data.fields["granularity"]);
  Int8StaticActivationInt8WeightConfig c;
  c.act_quant_scale = one_number(data, "act_quant_scale", DType::kFloat32);
  c.act_quant_zero_point = one_number(data, "act_quant_zero_point", DType::kInt8);
  c.act_mapping_type = get_mapping_type(data, "act_mapping_type");
  c.act_granularity = granularity_from_json(activation, "granularity");
  c.weight_granularity = granularity_from_json(weight, "granularity");
  c.reduce_range = is_true(data, "reduce_range");
  return c;
}

const ConfigType kInt8WeightOnlyConfigType{
    .name = "Int8WeightOnlyConfig",
    .version = 2,
    .declares_version = true,
    .fields = kWeightOnlyFields,
    .post_init = &check_weight_only,
    .quantize_tensor = &quantize_weight_only,
    .unsupported = {},
    .summary = "int8 weights with one scale a row, tensor or group",
    .operation = "int8_weight_only",
    .weight_classes = kWeightClasses,
};

const ConfigType kInt8DynamicActivationInt8WeightConfigType{
    .name = "Int8DynamicActivationInt8WeightConfig",
    .version = 2,
    .declares_version = true,
    .fields = kDynamicFields,
    .post_init = &check_dynamic,
    .quantize_tensor = &quantize_dynamic,
    .unsupported = {},
    .summary = "int8 weights, int8 activations quantized at run time, integer product",
    .operation = "int8_dynamic_activation_int8_weight",
    .weight_classes = kWeightClasses,
};

const ConfigType kInt8StaticActivationInt8WeightConfigType{
    .name = "Int8StaticActivationInt8WeightConfig",
    .version = 1,
    .declares_version = true,
    .fields = kStaticFields,
    .post_init = &check_static,
    .quantize_tensor = &quantize_static,
    .unsupported = {},
    .summary = "int8 weights, int8 activations with a given scale, integer product",
    .operation = "int8_static_activation_int8_weight",
    .weight_classes = kWeightClasses,
};

}  // namespace torchao_cpp
