// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/uintx_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string>

#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/uintx/uintx_bit_packed_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 4> kFields{{
    {"group_size", "128"},
    {"bit_width", "4"},
    {"packing_bitwidth", "null"},
    {"set_inductor_config", "true"},
}};

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

bool is_one_of(const Json& value, std::initializer_list<int> numbers) {
  return std::any_of(numbers.begin(), numbers.end(), [&](int n) { return value == n; });
}

void check(ConfigData& data, int /*version*/) {
  const Json& bit_width = data.fields["bit_width"];
  const Json& group_size = data.fields["group_size"];
  const Json& packing = data.fields["packing_bitwidth"];
  if (!is_one_of(bit_width, {4, 8}))
    fail(fmt::format("bit_width must be 4 or 8, got {}", printed(bit_width)));
  if (!group_size.is_null() && !is_one_of(group_size, {32, 64, 128, 256, 512, 1024})) {
    fail(fmt::format("group_size must be one of [32, 64, 128, 256, 512, 1024, None], got {}",
                     printed(group_size)));
  }
  if (bit_width == 8 && !group_size.is_null()) {
    fail(fmt::format("group_size must be None for bit_width=8, got {}", printed(group_size)));
  }
  if (!packing.is_null() && !is_one_of(packing, {8, 16, 32})) {
    fail(fmt::format("packing_bitwidth must be 8, 16, 32, or None, got {}", printed(packing)));
  }
}

std::optional<std::int64_t> optional_int(const Json& value) {
  return value.is_null() ? std::nullopt : std::optional(value.get<std::int64_t>());
}

template <bool kIsDynamic>
QuantizeResult quantize(const AOBaseConfig& config, const Tensor& weight) {
  const Json& fields = config.data().fields;
  UIntxOptions options;
  options.bit_width = fields["bit_width"].get<int>();
  options.group_size = optional_int(fields["group_size"]);
  options.packing_bitwidth = optional_int(fields["packing_bitwidth"]);
  options.is_dynamic = kIsDynamic;
  return {UIntxBitPackedTensor::from_hp(weight, options), {}};
}

constexpr std::array<const WeightTensorType*, 1> kWeightClasses{&kUIntxBitPackedTensorType};

}  // namespace

const ConfigType kUIntxWeightOnlyConfigType{
    .name = "UIntxWeightOnlyConfig",
    .version = 1,
    .declares_version = false,
    .fields = kFields,
    .post_init = &check,
    .quantize_tensor = &quantize<false>,
    .unsupported = {},
    .summary = "uint4 weights in groups (HQQ) or int8 weights in rows, in gemlite's packing",
    .operation = "int4_weight_only",
    .weight_classes = kWeightClasses,
};

const ConfigType kInt8DynamicActivationUIntxWeightConfigType{
    .name = "Int8DynamicActivationUIntxWeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kFields,
    .post_init = &check,
    .quantize_tensor = &quantize<true>,
    .unsupported = {},
    .summary = "the same weights, activations quantized at run time: int8, or float8 with uint4",
    .operation = "float8_dynamic_activation_int4_weight",
    .weight_classes = kWeightClasses,
};

}  // namespace torchao_cpp
