// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "config/config_type.h"
#include "torchao_cpp/quant_types.h"
#include "workflows/float8/float8_data.h"

namespace torchao_cpp {

/// float8 weights, activations untouched. Version 2.
struct Float8WeightOnlyConfig {
  DType weight_dtype = DType::kFloat8E4M3FN;
  Granularity granularity = PerRow{};  ///< PerTensor, PerRow or PerGroup.

  static Float8WeightOnlyConfig from_data(const ConfigData& data);
};

/// float8 weights and float8 activations quantized for every call. Version 2.
struct Float8DynamicActivationFloat8WeightConfig {
  DType activation_dtype = DType::kFloat8E4M3FN;
  DType weight_dtype = DType::kFloat8E4M3FN;
  Granularity act_granularity = PerTensor{};     ///< PerTensor, PerRow, or PerBlock([1, 128]) ...
  Granularity weight_granularity = PerTensor{};  ///< ... with the same, or PerBlock([128, 128]).
  Float8PackingFormat packing_format = Float8PackingFormat::kPlain;
  std::optional<Float8MMConfig> mm_config;
  std::optional<double> activation_value_lb;
  std::optional<double> activation_value_ub;
  KernelPreference kernel_preference = KernelPreference::kAuto;

  static Float8DynamicActivationFloat8WeightConfig from_data(const ConfigData& data);
};

/// float8 weights and float8 activations with a given scale. Has no version.
///
/// torchao holds the scale as a tensor, which its JSON cannot carry (null). Here a number or a
/// nested list of one number stands for it, e.g. "act_quant_scale": [[0.0137]].
struct Float8StaticActivationFloat8WeightConfig {
  std::optional<std::string>
      step;  ///< "prepare" and "convert" belong to calibration, which does not happen here.
  Tensor act_quant_scale;  ///< float32, one element; undefined when the config holds null.
  DType activation_dtype = DType::kFloat8E4M3FN;
  DType weight_dtype = DType::kFloat8E4M3FN;
  Granularity granularity = PerTensor{};
  std::optional<Float8MMConfig> mm_config;
  KernelPreference kernel_preference = KernelPreference::kAuto;
  bool quantizes_output = false;  ///< output_act_quant_scale is given.

  static Float8StaticActivationFloat8WeightConfig from_data(const ConfigData& data);
};

extern const ConfigType kFloat8WeightOnlyConfigType;
extern const ConfigType kFloat8DynamicActivationFloat8WeightConfigType;
extern const ConfigType kFloat8StaticActivationFloat8WeightConfigType;

}  // namespace torchao_cpp
