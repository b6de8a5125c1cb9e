// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "config/config_type.h"
#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {

/// Groupwise int4 weights, activations untouched. Version 2.
struct Int4WeightOnlyConfig {
  std::int64_t group_size = 128;
  Int4PackingFormat int4_packing_format = Int4PackingFormat::kPlain;
  Int4ChooseQParamsAlgorithm int4_choose_qparams_algorithm = Int4ChooseQParamsAlgorithm::kTinygemm;
  std::int64_t int4_tile_packed_ntile = 8;  ///< 8 or 16

  static Int4WeightOnlyConfig from_data(const ConfigData& data);
};

/// int4 weights in groups of 128 and float8 activations quantized per row for every call. No
/// version field.
struct Float8DynamicActivationInt4WeightConfig {
  Int4PackingFormat int4_packing_format = Int4PackingFormat::kPreshuffled;  ///< Or kPlain.

  static Float8DynamicActivationInt4WeightConfig from_data(const ConfigData& data);
};

extern const ConfigType kInt4WeightOnlyConfigType;
extern const ConfigType kFloat8DynamicActivationInt4WeightConfigType;

}  // namespace torchao_cpp
