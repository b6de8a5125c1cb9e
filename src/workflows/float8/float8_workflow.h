// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// Float8WeightOnly, Float8DynamicActivationFloat8Weight, Float8StaticActivationFloat8Weight;
/// Float8Tensor and PrototypeFloat8Tensor.
extern const Workflow kFloat8Workflow;

}  // namespace torchao_cpp
