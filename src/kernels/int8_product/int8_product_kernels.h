// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Kernels of the operations that multiply int8 codes with int8 codes. All give the same bits.

/// Plain loops.
LinearKernel int8_product_ref(LinearOperation operation);

/// oneDNN's int8 product on panels of weight rows.
LinearKernel int8_product_onednn(LinearOperation operation);

}  // namespace torchao_cpp
