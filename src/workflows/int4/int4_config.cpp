// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_config.h"

#include <fmt/format.h>

#include <array>
#include <string>

#include "config/config_fields.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/int4/int4_preshuffled_tensor.h"
#include "workflows/int4/int4_tensor.h"
#include "workflows/int4/int4_tile_packed_to_4d_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 5> kWeightOnlyFields{{
    {"group_size", "128"},
    {"set_inductor_config", "true"},
    {"int4_packing_format", R"({"_type": "Int4PackingFormat", "_data": "PLAIN"})"},
    {"int4_choose_qparams_algorithm",
     R"({"_type": "Int4ChooseQParamsAlgorithm", "_data": "TINYGEMM"})"},
    {"int4_tile_packed_ntile", "8"},
}};

constexpr std::array<FieldSpec, 1> kFloat8Fields{{
    {"int4_packing_format", R"("preshuffled")"},
}};

// The kernels behind this config take groups of 128 and nothing else.
constexpr std::int64_t kFloat8GroupSize = 128;

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

QuantizeResult quantize_preshuffled(const Tensor& weight, std::int64_t group_size,
                                    DType activation_dtype) {
  const std::string problem =
      Int4PreshuffledTensor::shape_problem(weight.shape(), group_size, activation_dtype);
  if (problem.empty())
    return {Int4PreshuffledTensor::from_hp(weight, group_size, activation_dtype), {}};
  // MSLK shuffles such a weight into garbage.
  return {Int4Tensor::from_hp(weight, group_size, activation_dtype),
          {},
          fmt::format("Int4Tensor stands in for packing format preshuffled: {}", problem)};
}

void check_weight_only(ConfigData& data, int /*version*/) {
  const Json& ntile = data.fields["int4_tile_packed_ntile"];
  if (ntile != 8 && ntile != 16)
    fail(fmt::format("int4_tile_packed_ntile must be either 8 or 16, got {}", printed(ntile)));
}

QuantizeResult quantize_weight_only(const AOBaseConfig& config, const Tensor& weight) {
  check_weight_matrix(weight, "Int4WeightOnlyConfig");
  const auto c = Int4WeightOnlyConfig::from_data(config.data());
  if (c.group_size <= 0) fail(fmt::format("group_size must be positive, got {}", c.group_size));
  const std::int64_t k = weight.shape()[1];
  // torchao asks this first and skips without an error, whatever else is wrong.
  if (k % c.group_size != 0) {
    return {nullptr, fmt::format("shape {} is not compatible with group_size {}: {} % {} != 0",
                                 shape_to_string(weight.shape()), c.group_size, k, c.group_size)};
  }
  if (config.version() != 2)
    fail(fmt::format("Int4WeightOnlyConfig: Unexpected version: {}; expected 2", config.version()));
  if (c.int4_choose_qparams_algorithm == Int4ChooseQParamsAlgorithm::kHqq &&
      c.int4_packing_format != Int4PackingFormat::kTilePackedTo4d) {
    fail(
        fmt::format("Int4ChooseQParamsAlgorithm.HQQ is not supported by packing format {}, only by "
                    "TILE_PACKED_TO_4D",
                    printed(config.data().fields["int4_packing_format"])));
  }
  switch (c.int4_packing_format) {
    case Int4PackingFormat::kPlain:
      return {Int4Tensor::from_hp(weight, c.group_size, DType::kBFloat16), {}};
    case Int4PackingFormat::kTilePackedTo4d:
      return {
          Int4TilePackedTo4dTensor::from_hp(
              weight, {c.group_size, c.int4_choose_qparams_algorithm, c.int4_tile_packed_ntile}),
          {}};
    case Int4PackingFormat::kPlainInt32:
      throw UnsupportedError(
          "Int4PlainInt32Tensor does not support device 'cpu' yet: an XPU or NPU operator packs "
          "it; use "
          "int4_packing_format PLAIN");
    case Int4PackingFormat::kPreshuffled:
      break;
  }
  return quantize_preshuffled(weight, c.group_size, DType::kBFloat16);
}

QuantizeResult quantize_float8(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = Float8DynamicActivationInt4WeightConfig::from_data(config.data());
  if (c.int4_packing_format == Int4PackingFormat::kPreshuffled) {
    check_weight_matrix(weight, "Float8DynamicActivationInt4WeightConfig");
    return quantize_preshuffled(weight, kFloat8GroupSize, DType::kFloat8E4M3FN);
  }
  if (c.int4_packing_format != Int4PackingFormat::kPlain) {
    fail(fmt::format("only preshuffled and plain int4_packing_format supported right now, got: {}",
                     printed(config.data().fields["int4_packing_format"])));
  }
  return {Int4Tensor::from_hp(weight, kFloat8GroupSize, DType::kFloat8E4M3FN), {}};
}

constexpr std::array<const WeightTensorType*, 3> kWeightOnlyClasses{
    &kInt4TensorType, &kInt4TilePackedTo4dTensorType, &kInt4PreshuffledTensorType};
constexpr std::array<const WeightTensorType*, 2> kFloat8Classes{&kInt4PreshuffledTensorType,
                                                                &kInt4TensorType};

}  // namespace

Int4WeightOnlyConfig Int4WeightOnlyConfig::from_data(const ConfigData& data) {
  Int4WeightOnlyConfig c;
  c.group_size = get_int(data, "group_size");
  c.int4_packing_format = get_int4_packing_format(data, "int4_packing_format");
  c.int4_choose_qparams_algorithm =
      get_int4_choose_qparams_algorithm(data, "int4_choose_qparams_algorithm");
  c.int4_tile_packed_ntile = get_int(data, "int4_tile_packed_ntile");
  return c;
}

Float8DynamicActivationInt4WeightConfig Float8DynamicActivationInt4WeightConfig::from_data(
    const ConfigData& data) {
  return {get_int4_packing_format(data, "int4_packing_format")};
}

const ConfigType kInt4WeightOnlyConfigType{
    .name = "Int4WeightOnlyConfig",
    .version = 2,
    .declares_version = true,
    .fields = kWeightOnlyFields,
    .post_init = &check_weight_only,
    .quantize_tensor = &quantize_weight_only,
    .unsupported = {},
    .summary = "int4 weights in groups: plain nibbles, tinygemm tiles or shuffled for sm90",
    .operation = "int4_weight_only",
    .weight_classes = kWeightOnlyClasses,
};

const ConfigType kFloat8DynamicActivationInt4WeightConfigType{
    .name = "Float8DynamicActivationInt4WeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kFloat8Fields,
    .post_init = nullptr,
    .quantize_tensor = &quantize_float8,
    .unsupported = {},
    .summary = "int4 weights in groups of 128, float8 activations quantized per row at run time",
    .operation = "float8_dynamic_activation_int4_weight",
    .weight_classes = kFloat8Classes,
};

}  // namespace torchao_cpp
