// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// A base config applied after scaling input channels by factors searched on calibration data.
extern const ConfigType kAWQConfigType;
/// A base config applied after moving activation outliers into the weight by calibrated factors.
extern const ConfigType kSmoothQuantConfigType;
/// Superblocks of 256 with quantized scales, as llama.cpp's k-quants.
extern const ConfigType kGGUFWeightOnlyConfigType;
/// PARQ's stretched affine codes, version 2.
extern const ConfigType kStretchedIntxWeightConfigType;
/// Block sparsity.
extern const ConfigType kBlockSparseWeightConfigType;
/// 2:4 sparsity.
extern const ConfigType kSemiSparseWeightConfigType;

}  // namespace torchao_cpp
