// SPDX-License-Identifier: Apache-2.0
#include "workflows/mx/mx_config.h"

#include <fmt/format.h>

#include <array>

#include "config/config_fields.h"
#include "core/attribute_values.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/mx/mx_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 5> kFields{{
    {"block_size", "32"},
    {"activation_dtype", R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"})"},
    {"weight_dtype", R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"})"},
    {"kernel_preference", R"({"_type": "KernelPreference", "_data": "AUTO"})"},
    {"scaling_mode", R"({"_type": "ScaleCalculationMode", "_data": "RCEIL"})"},
}};

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

// fp6 types are plain strings in torchao, because torch has no dtypes for them.
DType element_dtype(const Json& value) {
  std::optional<DType> dtype;
  if (value.is_string()) {
    dtype = dtype_from_name(value.get_ref<const std::string&>());
    if (dtype != DType::kFloat6E2M3 && dtype != DType::kFloat6E3M2) dtype.reset();
  } else if (has_type(value, {"torch.dtype"})) {
    dtype = dtype_from_json(value, "weight_dtype");
  }
  if (!dtype || !is_mx_element_dtype(*dtype)) {
    fail(fmt::format(
        "elem_dtype must be one of float8_e4m3fn, float8_e5m2, \"fp6_e2m3\", \"fp6_e3m2\", "
        "float4_e2m1fn_x2, got {}",
        printed(value)));
  }
  return *dtype;
}

void check(ConfigData& data, int /*version*/) {
  if (data.fields["activation_dtype"] != data.fields["weight_dtype"]) {
    fail(fmt::format(
        "For now - we only support matching input/weight dtypes. Got activation_dtype {} and "
        "weight_dtype {}",
        printed(data.fields["activation_dtype"]), printed(data.fields["weight_dtype"])));
  }
  element_dtype(data.fields["weight_dtype"]);
}

QuantizeResult quantize(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = MXDynamicActivationMXWeightConfig::from_data(config.data());
  if (weight.dtype() != DType::kBFloat16) {
    throw UnsupportedError(fmt::format("{}: Only supporting bf16 out dtype for now, got torch.{}",
                                       config.type_name(), dtype_name(weight.dtype())));
  }
  MXAttributes attributes;
  attributes.elem_dtype = c.element_dtype;
  attributes.block_size = c.block_size;
  attributes.kernel_preference = kernel_preference_name(c.kernel_preference);
  attributes.is_swizzled_scales = true;
  attributes.act_quant_kwargs =
      QuantizeTensorToMXKwargs{.elem_dtype = c.element_dtype,
                               .block_size = c.block_size,
                               .scaling_mode = c.scaling_mode,
                               .kernel_preference = attributes.kernel_preference,
                               .is_swizzled_scales = true};
  return {MXTensor::from_hp(weight, std::move(attributes), c.scaling_mode), {}};
}

constexpr std::array<const WeightTensorType*, 1> kWeightClasses{&kMXTensorType};

}  // namespace

MXDynamicActivationMXWeightConfig MXDynamicActivationMXWeightConfig::from_data(
    const ConfigData& data) {
  MXDynamicActivationMXWeightConfig c;
  c.block_size = get_int(data, "block_size");
  c.element_dtype = torchao_cpp::element_dtype(data.fields["weight_dtype"]);
  c.kernel_preference = get_kernel_preference(data, "kernel_preference");
  c.scaling_mode = get_scale_calculation_mode(data, "scaling_mode");
  return c;
}

const ConfigType kMXDynamicActivationMXWeightConfigType{
    .name = "MXDynamicActivationMXWeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kFields,
    .post_init = &check,
    .quantize_tensor = &quantize,
    .unsupported = {},
    .summary = "fp8, fp6 or fp4 weights and activations in blocks with power-of-two scales",
    .operation = "mx_dynamic_activation_mx_weight",
    .weight_classes = kWeightClasses,
};

}  // namespace torchao_cpp
