// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// NVFP4WeightOnly, NVFP4DynamicActivationNVFP4Weight; NVFP4Tensor.
extern const Workflow kNvfp4Workflow;

}  // namespace torchao_cpp
