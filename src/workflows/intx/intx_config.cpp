// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/intx_config.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <utility>

#include "config/config_fields.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/intx/intx_unpacked_to_int8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kInt8Json = R"({"_type": "torch.dtype", "_data": "int8"})";
constexpr std::string_view kSymmetricJson = R"({"_type": "MappingType", "_data": "SYMMETRIC"})";
constexpr std::string_view kAsymmetricJson = R"({"_type": "MappingType", "_data": "ASYMMETRIC"})";
constexpr std::string_view kUnpackedJson =
    R"({"_type": "IntxPackingFormat", "_data": "UNPACKED_TO_INT8"})";
constexpr std::string_view kAffineJson =
    R"({"_type": "IntxChooseQParamsAlgorithm", "_data": "AFFINE"})";

constexpr std::array<FieldSpec, 6> kWeightOnlyFields{{
    {"weight_dtype", kInt8Json},
    {"granularity", R"({"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}})"},
    {"mapping_type", kSymmetricJson},
    {"scale_dtype", "null"},
    {"intx_packing_format", kUnpackedJson},
    {"intx_choose_qparams_algorithm", kAffineJson},
}};

constexpr std::array<FieldSpec, 7> kDynamicFields{{
    {"weight_dtype", kInt8Json},
    {"weight_granularity", R"({"_type": "PerGroup", "_version": 1, "_data": {"group_size": 32}})"},
    {"weight_mapping_type", kSymmetricJson},
    {"weight_scale_dtype", "null"},
    {"act_mapping_type", kAsymmetricJson},
    {"intx_packing_format", kUnpackedJson},
    {"intx_choose_qparams_algorithm", kAffineJson},
}};

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

void check_weight_dtype(const ConfigData& data) {
  if (!is_enum_member(data.fields["weight_dtype"], "torch.dtype",
                      {"int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8"})) {
    fail(fmt::format("weight_dtype must be torch.intx, where 1 <= x <= 8, but got {}",
                     printed(data.fields["weight_dtype"])));
  }
}

void check_granularity(const ConfigData& data, const std::string& field) {
  const Json& value = data.fields[field];
  if (!has_type(value, {"PerAxis", "PerGroup"})) {
    fail(fmt::format("{} must be PerAxis or PerGroup, but got {}", field, printed(value)));
  }
  if (has_type(value, {"PerAxis"}) && granularity_member(value, "axis", nullptr) != 0) {
    fail(fmt::format("axis must be 0 with PerAxis, but got {}", printed(value)));
  }
}

void check_mapping(const ConfigData& data, const std::string& field,
                   std::initializer_list<std::string_view> members) {
  if (!is_enum_member(data.fields[field], "MappingType", members)) {
    fail(fmt::format("{} must be one of {}, but got {}", field,
                     members.size() == 3 ? "MappingType.ASYMMETRIC, MappingType.SYMMETRIC, or "
                                           "MappingType.SYMMETRIC_NO_CLIPPING_ERR"
                                         : "MappingType.ASYMMETRIC or MappingType.SYMMETRIC",
                     printed(data.fields[field])));
  }
}

void check_weight_only(ConfigData& data, int /*version*/) {
  check_weight_dtype(data);
  check_granularity(data, "granularity");
  check_mapping(data, "mapping_type", {"ASYMMETRIC", "SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"});
}

void check_dynamic(ConfigData& data, int /*version*/) {
  check_weight_dtype(data);
  check_granularity(data, "weight_granularity");
  check_mapping(data, "weight_mapping_type",
                {"ASYMMETRIC", "SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"});
  check_mapping(data, "act_mapping_type", {"ASYMMETRIC", "SYMMETRIC"});
}

void require_version_2(const AOBaseConfig& config) {
  if (config.version() != 2) {
    fail(fmt::format("{}: Unexpected version: {}; expected 2", config.type_name(),
                     config.version()));
  }
}

std::int64_t group_size_of(const Granularity& granularity, std::int64_t k) {
  const auto* group = std::get_if<PerGroup>(&granularity);
  return group != nullptr ? group->group_size : k;
}

// torchao fails inside a cast for anything but a float dtype.
void require_float(std::optional<DType> dtype, std::string_view field) {
  if (dtype && !is_high_precision(*dtype)) {
    fail(fmt::format("{} is {}; expected null, float32, float16 or bfloat16", field,
                     dtype_name(*dtype)));
  }
}

// The opaque formats are packings of one kernel library each, of the same codes.
constexpr std::string_view kOpaqueNotice =
    "IntxUnpackedToInt8Tensor holds the codes of the opaque packing format; their packing is the "
    "kernel's choice here";

// What torchao asserts when it packs, but for the machine.
void check_opaque(const Int8DynamicActivationIntxWeightConfig& c,
                  const IntxUnpackedToInt8Tensor::Data& data) {
  if (data.scale.dtype() == DType::kFloat16)
    throw UnsupportedError("opaque packing formats take bfloat16 or float32 scales, got float16");
  if (c.intx_packing_format != IntxPackingFormat::kOpaqueAtenKleidiai) return;
  if (c.weight_dtype != DType::kInt4) {
    throw UnsupportedError(fmt::format("ATEN target only supports 4-bit, got weight_dtype {}",
                                       dtype_name(c.weight_dtype)));
  }
  if (!is_all_zero(data.zero_point)) {
    throw UnsupportedError(
        "ATEN target does not support zeros; use a symmetric weight_mapping_type");
  }
}

QuantizeResult quantize_weight_only(const AOBaseConfig& config, const Tensor& weight) {
  check_weight_matrix(weight, "IntxWeightOnlyConfig");
  const auto c = IntxWeightOnlyConfig::from_data(config.data());
  require_version_2(config);
  if (c.intx_packing_format != IntxPackingFormat::kUnpackedToInt8) {
    fail(fmt::format("Unsupported packing format: {}; IntxWeightOnlyConfig takes UNPACKED_TO_INT8",
                     printed(config.data().fields["intx_packing_format"])));
  }
  require_float(c.scale_dtype, "scale_dtype");
  IntxOptions options;
  options.target_dtype = c.weight_dtype;
  options.group_size = group_size_of(c.granularity, weight.shape()[1]);
  options.mapping_type = c.mapping_type;
  options.algorithm = c.intx_choose_qparams_algorithm;
  options.scale_dtype = c.scale_dtype;
  return {IntxUnpackedToInt8Tensor::from_hp(weight, options), {}};
}

QuantizeResult quantize_dynamic(const AOBaseConfig& config, const Tensor& weight) {
  check_weight_matrix(weight, "Int8DynamicActivationIntxWeightConfig");
  const auto c = Int8DynamicActivationIntxWeightConfig::from_data(config.data());
  require_version_2(config);
  if (c.act_mapping_type != MappingType::kAsymmetric) {
    fail(
        "Int8DynamicActivationIntxWeightConfig: act_mapping_type is SYMMETRIC; only ASYMMETRIC "
        "quantizes");
  }
  require_float(c.weight_scale_dtype, "weight_scale_dtype");
  IntxOptions options;
  options.target_dtype = c.weight_dtype;
  options.group_size = group_size_of(c.weight_granularity, weight.shape()[1]);
  options.mapping_type = c.weight_mapping_type;
  options.algorithm = c.intx_choose_qparams_algorithm;
  options.scale_dtype = c.weight_scale_dtype;
  options.int8_asym_per_token = true;
  WeightTensorPtr quantized = IntxUnpackedToInt8Tensor::from_hp(weight, options);
  if (c.intx_packing_format == IntxPackingFormat::kUnpackedToInt8)
    return {std::move(quantized), {}};
  check_opaque(c, static_cast<const IntxUnpackedToInt8Tensor&>(*quantized).data());
  return {std::move(quantized), {}, std::string(kOpaqueNotice)};
}

constexpr std::array<const WeightTensorType*, 1> kWeightClasses{&kIntxUnpackedToInt8TensorType};

}  // namespace

IntxWeightOnlyConfig IntxWeightOnlyConfig::from_data(const ConfigData& data) {
  IntxWeightOnlyConfig c;
  c.weight_dtype = get_dtype(data, "weight_dtype");
  c.granularity = get_granularity(data, "granularity");
  c.mapping_type = get_mapping_type(data, "mapping_type");
  c.scale_dtype = get_optional_dtype(data, "scale_dtype");
  c.intx_packing_format = get_intx_packing_format(data, "intx_packing_format");
  c.intx_choose_qparams_algorithm =
      get_intx_choose_qparams_algorithm(data, "intx_choose_qparams_algorithm");
  return c;
}

Int8DynamicActivationIntxWeightConfig Int8DynamicActivationIntxWeightConfig::from_data(
    const ConfigData& data) {
  Int8DynamicActivationIntxWeightConfig c;
  c.weight_dtype = get_dtype(data, "weight_dtype");
  c.weight_granularity = get_granularity(data, "weight_granularity");
  c.weight_mapping_type = get_mapping_type(data, "weight_mapping_type");
  c.weight_scale_dtype = get_optional_dtype(data, "weight_scale_dtype");
  c.act_mapping_type = get_mapping_type(data, "act_mapping_type");
  c.intx_packing_format = get_intx_packing_format(data, "intx_packing_format");
  c.intx_choose_qparams_algorithm =
      get_intx_choose_qparams_algorithm(data, "intx_choose_qparams_algorithm");
  return c;
}

const ConfigType kIntxWeightOnlyConfigType{
    .name = "IntxWeightOnlyConfig",
    .version = 2,
    .declares_version = true,
    .fields = kWeightOnlyFields,
    .post_init = &check_weight_only,
    .quantize_tensor = &quantize_weight_only,
    .unsupported = {},
    .summary = "int1 to int8 weights with one scale a row or group",
    .operation = "intx_weight_only",
    .weight_classes = kWeightClasses,
};

const ConfigType kInt8DynamicActivationIntxWeightConfigType{
    .name = "Int8DynamicActivationIntxWeightConfig",
    .version = 2,
    .declares_version = true,
    .fields = kDynamicFields,
    .post_init = &check_dynamic,
    .quantize_tensor = &quantize_dynamic,
    .unsupported = {},
    .summary = "int1 to int8 weights, activations through int8 per token",
    .operation = "int8_dynamic_activation_intx_weight",
    .weight_classes = kWeightClasses,
};

}  // namespace torchao_cpp
