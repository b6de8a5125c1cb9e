// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// IntxWeightOnly, Int8DynamicActivationIntxWeight; IntxUnpackedToInt8Tensor.
extern const Workflow kIntxWorkflow;

}  // namespace torchao_cpp
