// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// 4- or 8-bit weights in gemlite's packing, dequantized before a float product.
extern const ConfigType kUIntxWeightOnlyConfigType;
/// The same weights with activations quantized at run time: to int8 where the weights have 8 bits,
/// to float8 where they have 4, as gemlite does.
extern const ConfigType kInt8DynamicActivationUIntxWeightConfigType;

}  // namespace torchao_cpp
