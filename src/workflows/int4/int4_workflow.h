// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// Int4WeightOnly, Float8DynamicActivationInt4Weight; Int4Tensor, Int4TilePackedTo4dTensor,
/// Int4PlainInt32Tensor, Int4PreshuffledTensor.
extern const Workflow kInt4Workflow;

}  // namespace torchao_cpp
