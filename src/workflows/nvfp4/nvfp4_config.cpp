// SPDX-License-Identifier: Apache-2.0
#include "workflows/nvfp4/nvfp4_config.h"

#include <fmt/format.h>

#include <array>

#include "config/config_fields.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "workflows/config_checks.h"
#include "workflows/nvfp4/nvfp4_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 3> kDynamicFields{{
    {"use_triton_kernel", "true"},
    {"use_dynamic_per_tensor_scale", "true"},
    {"step", "null"},
}};
constexpr std::array<FieldSpec, 1> kWeightOnlyFields{{{"use_dynamic_per_tensor_scale", "true"}}};

/// torchao's QuantizationStep: a config takes the value and holds the member.
struct Step {
  std::string_view value;
  std::string_view member;
};
constexpr std::array<Step, 5> kSteps{{
    {"prepare", "PREPARE"},
    {"convert", "CONVERT"},
    {"prepare_for_loading", "PREPARE_FOR_LOADING"},
    {"prepare_for_smoothquant_smoothing_factor", "PREPARE_FOR_SMOOTHQUANT_SMOOTHING_FACTOR"},
    {"prepare_for_smoothquant_activation_scales", "PREPARE_FOR_SMOOTHQUANT_ACTIVATION_SCALES"},
}};

constexpr std::int64_t kAlignment = 16;

[[noreturn]] void fail(const std::string& message) { throw ConfigError(message, "validation"); }

void check_dynamic(ConfigData& data, int /*version*/) {
  Json& step = data.fields["step"];
  if (step.is_null()) return;
  for (const Step& known : kSteps) {
    if (step != known.value) continue;
    step = Json{{"_type", "QuantizationStep"}, {"_data", std::string(known.member)}};
    data.fields["use_dynamic_per_tensor_scale"] = false;
    return;
  }
  fail(fmt::format("{} is not a valid QuantizationStep; expected null, \"prepare\" or \"convert\"",
                   printed(step)));
}

void check_weight(const AOBaseConfig& config, const Tensor& weight) {
  const Shape& shape = weight.shape();
  if (shape[0] % kAlignment != 0 || shape[1] % kAlignment != 0) {
    throw ShapeError(fmt::format(
        "{}: NVFP4 only supports weight shape with last 2 dims divisible by {}, got torch.Size({})",
        config.type_name(), kAlignment, shape_to_string(shape)));
  }
}

// torchao refuses this config without an sm100 GPU unless a step is given; quantizing the weight
// needs none.
QuantizeResult quantize_dynamic(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = NVFP4DynamicActivationNVFP4WeightConfig::from_data(config.data());
  check_weight(config, weight);
  if (c.step) {
    if (*c.step != "PREPARE" && *c.step != "CONVERT") {
      fail(fmt::format("Unexpected step: {}. Expected one of prepare, convert or null", *c.step));
    }
    return {nullptr,
            fmt::format("step {} belongs to calibration in torchao; leave it out to quantize",
                        *c.step)};
  }
  NVFP4Attributes attributes;
  attributes.is_swizzled_scales = true;
  attributes.use_triton_kernel = c.use_triton_kernel;
  attributes.act_quant_kwargs =
      QuantizeTensorToNVFP4Kwargs{.block_size = kAlignment,
                                  .is_swizzled_scales = true,
                                  .use_triton_kernel = c.use_triton_kernel,
                                  .use_dynamic_per_tensor_scale = c.use_dynamic_per_tensor_scale};
  return {NVFP4Tensor::from_hp(weight, c.use_dynamic_per_tensor_scale, std::move(attributes)), {}};
}

QuantizeResult quantize_weight_only(const AOBaseConfig& config, const Tensor& weight) {
  const auto c = NVFP4WeightOnlyConfig::from_data(config.data());
  check_weight(config, weight);
  NVFP4Attributes attributes;
  attributes.is_swizzled_scales = true;
  return {NVFP4Tensor::from_hp(weight, c.use_dynamic_per_tensor_scale, std::move(attributes)), {}};
}

constexpr std::array<const WeightTensorType*, 1> kWeightClasses{&kNVFP4TensorType};

}  // namespace

NVFP4DynamicActivationNVFP4WeightConfig NVFP4DynamicActivationNVFP4WeightConfig::from_data(
    const ConfigData& data) {
  NVFP4DynamicActivationNVFP4WeightConfig c;
  c.use_triton_kernel = get_bool(data, "use_triton_kernel");
  c.use_dynamic_per_tensor_scale = get_bool(data, "use_dynamic_per_tensor_scale");
  const Json& step = data.fields["step"];
  if (has_type(step, {"QuantizationStep"}) && step.contains("_data"))
    c.step = step["_data"].get<std::string>();
  return c;
}

NVFP4WeightOnlyConfig NVFP4WeightOnlyConfig::from_data(const ConfigData& data) {
  return {get_bool(data, "use_dynamic_per_tensor_scale")};
}

const ConfigType kNVFP4DynamicActivationNVFP4WeightConfigType{
    .name = "NVFP4DynamicActivationNVFP4WeightConfig",
    .version = 1,
    .declares_version = false,
    .fields = kDynamicFields,
    .post_init = &check_dynamic,
    .quantize_tensor = &quantize_dynamic,
    .unsupported = {},
    .summary = "fp4 weights and activations, a float8 scale for each 16 and one for the tensor",
    .operation = "nvfp4_dynamic_activation_nvfp4_weight",
    .weight_classes = kWeightClasses,
};

const ConfigType kNVFP4WeightOnlyConfigType{
    .name = "NVFP4WeightOnlyConfig",
    .version = 1,
    .declares_version = false,
    .fields = kWeightOnlyFields,
    .post_init = nullptr,
    .quantize_tensor = &quantize_weight_only,
    .unsupported = {},
    .summary = "fp4 weights, a float8 scale for each 16 and one for the tensor",
    .operation = "nvfp4_weight_only",
    .weight_classes = kWeightClasses,
};

}  // namespace torchao_cpp
