// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config/config_type.h"

namespace torchao_cpp {

/// torchao's prototype configs that are read, checked and written back, but quantize no weight here: AWQ, SmoothQuant,
/// UIntx (gemlite), GGUF, StretchedIntx (PARQ), sparsity. A checkpoint they made holds weights of their base config.
extern const Workflow kPrototypeWorkflow;

}  // namespace torchao_cpp
