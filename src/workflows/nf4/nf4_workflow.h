// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// NF4Tensor. torchao's NF4WeightOnlyConfig cannot be read from JSON, so there is no config.
extern const Workflow kNf4Workflow;

}  // namespace torchao_cpp
