// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// MXDynamicActivationMXWeight; MXTensor.
extern const Workflow kMxWorkflow;

}  // namespace torchao_cpp
