// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// Int8WeightOnly, Int8DynamicActivationInt8Weight, Int8StaticActivationInt8Weight; Int8Tensor.
extern const Workflow kInt8Workflow;

}  // namespace torchao_cpp
