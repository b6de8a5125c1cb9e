// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"
#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {

/// MX weights and MX activations quantized for every call; bfloat16 weights only. Has no version.
struct MXDynamicActivationMXWeightConfig {
  std::int64_t block_size = 32;
  DType element_dtype =
      DType::kFloat8E4M3FN;  ///< activation_dtype and weight_dtype, which are equal.
  KernelPreference kernel_preference = KernelPreference::kAuto;
  ScaleCalculationMode scaling_mode = ScaleCalculationMode::kRceil;

  static MXDynamicActivationMXWeightConfig from_data(const ConfigData& data);
};

extern const ConfigType kMXDynamicActivationMXWeightConfigType;

}  // namespace torchao_cpp
