// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "config/config_type.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {

/// intB weights (B = 1..8) dequantized before a float product. Version 2.
struct IntxWeightOnlyConfig {
  DType weight_dtype = DType::kInt8;     ///< int1..int8
  Granularity granularity = PerAxis{0};  ///< PerAxis(0) or PerGroup
  MappingType mapping_type = MappingType::kSymmetric;
  std::optional<DType> scale_dtype;  ///< Absent: the weight's.
  IntxPackingFormat intx_packing_format = IntxPackingFormat::kUnpackedToInt8;
  IntxChooseQParamsAlgorithm intx_choose_qparams_algorithm = IntxChooseQParamsAlgorithm::kAffine;

  static IntxWeightOnlyConfig from_data(const ConfigData& data);
};

/// intB weights and activations quantized to int8 per token, asymmetric ("8da4w" with int4).
/// Version 2.
struct Int8DynamicActivationIntxWeightConfig {
  DType weight_dtype = DType::kInt8;              ///< int1..int8
  Granularity weight_granularity = PerGroup{32};  ///< PerGroup or PerAxis(0)
  MappingType weight_mapping_type = MappingType::kSymmetric;
  std::optional<DType> weight_scale_dtype;                  ///< Absent: the weight's.
  MappingType act_mapping_type = MappingType::kAsymmetric;  ///< Only kAsymmetric quantizes.
  IntxPackingFormat intx_packing_format = IntxPackingFormat::kUnpackedToInt8;
  IntxChooseQParamsAlgorithm intx_choose_qparams_algorithm = IntxChooseQParamsAlgorithm::kAffine;

  static Int8DynamicActivationIntxWeightConfig from_data(const ConfigData& data);
};

extern const ConfigType kIntxWeightOnlyConfigType;
extern const ConfigType kInt8DynamicActivationIntxWeightConfigType;

}  // namespace torchao_cpp
