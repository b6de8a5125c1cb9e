// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"
#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {

/// int8 weights, activations untouched. Version 2.
struct Int8WeightOnlyConfig {
  Granularity granularity = PerRow{};  ///< PerTensor, PerRow or PerGroup.

  static Int8WeightOnlyConfig from_data(const ConfigData& data);
};

/// int8 weights and int8 activations quantized for every call. Version 2.
struct Int8DynamicActivationInt8WeightConfig {
  MappingType act_mapping_type = MappingType::kSymmetric;  ///< kSymmetric or kAsymmetric.
  Granularity act_granularity = PerRow{};                  ///< PerRow(dim=-1) or PerTensor.
  Granularity weight_granularity = PerRow{};               ///< PerRow or PerTensor.
  bool reduce_range = false;  ///< Codes in [-64, 63], for CPUs without VNNI.

  static Int8DynamicActivationInt8WeightConfig from_data(const ConfigData& data);
};

/// int8 weights and int8 activations with a given scale. Version 1.
///
/// torchao holds the scale as a tensor, which its JSON cannot carry (null). Here a number or a
/// nested list of numbers stands for it, e.g. "act_quant_scale": [[0.0317]].
struct Int8StaticActivationInt8WeightConfig {
  Tensor act_quant_scale;       ///< float32; undefined when the config holds null.
  Tensor act_quant_zero_point;  ///< int8; undefined when the config holds null.
  MappingType act_mapping_type = MappingType::kSymmetric;
  Granularity act_granularity = PerRow{};
  Granularity weight_granularity = PerRow{};
  bool reduce_range = false;

  static Int8StaticActivationInt8WeightConfig from_data(const ConfigData& data);
};

extern const ConfigType kInt8WeightOnlyConfigType;
extern const ConfigType kInt8DynamicActivationInt8WeightConfigType;
extern const ConfigType kInt8StaticActivationInt8WeightConfigType;

}  // namespace torchao_cpp
