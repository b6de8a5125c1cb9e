// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// Bit-packed unsigned weights: UIntxBitPackedTensor.
extern const Workflow kUIntxWorkflow;

}  // namespace torchao_cpp
