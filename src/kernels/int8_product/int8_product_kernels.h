// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Kernels of the operations that multiply int8 codes with int8 codes. All give the same bits.

/// Plain loops.
LinearKernel int8_product_ref(LinearOperation operation);

/// oneDNN's int8 product on panels of weight rows.
LinearKernel int8_product_onednn(LinearOperation operation);

#if defined(__aarch64__)
/// Our own, for one instruction set each; codes are read where they lie.
LinearKernel int8_product_neon(LinearOperation operation);
LinearKernel int8_product_neon_dotprod(LinearOperation operation);
LinearKernel int8_product_neon_i8mm(LinearOperation operation);
#endif

}  // namespace torchao_cpp
