// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "config/config_type.h"

namespace torchao_cpp {

/// NVFP4 weights and NVFP4 activations. Has no version.
struct NVFP4DynamicActivationNVFP4WeightConfig {
  bool use_triton_kernel = true;  ///< A hint; kept in the weight, no effect on the CPU.
  bool use_dynamic_per_tensor_scale = true;
  std::optional<std::string>
      step;  ///< Member name such as "CONVERT": calibration, which does not happen here.

  static NVFP4DynamicActivationNVFP4WeightConfig from_data(const ConfigData& data);
};

/// NVFP4 weights, activations untouched. Has no version.
struct NVFP4WeightOnlyConfig {
  bool use_dynamic_per_tensor_scale = true;  ///< Two levels of scales.

  static NVFP4WeightOnlyConfig from_data(const ConfigData& data);
};

extern const ConfigType kNVFP4DynamicActivationNVFP4WeightConfigType;
extern const ConfigType kNVFP4WeightOnlyConfigType;

}  // namespace torchao_cpp
