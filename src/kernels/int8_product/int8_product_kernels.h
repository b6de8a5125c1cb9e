// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Kernels of the operations that multiply int8 codes with int8 codes. All give the same bits.

/// Plain loops.
LinearKernel int8_product_ref(LinearOperation operation);

/// oneDNN's int8 product on panels of weight rows.
LinearKernel int8_product_onednn(LinearOperation operation);

#if defined(__x86_64__)
/// Our own, for one instruction set each; codes are read where they lie.
LinearKernel int8_product_avx2(LinearOperation operation);
LinearKernel int8_product_avx512_vnni(LinearOperation operation);
LinearKernel int8_product_amx(LinearOperation operation);

/// int8 activations times codes of 1 to 7 bits, in integers within each group: fewer roundings than
/// torchao's CPU path, which multiplies floats. "avx2_int8", "avx512_vnni" and
/// "amx_int8".
LinearKernel intx_product_avx2();
LinearKernel intx_product_avx512_vnni();
LinearKernel intx_product_amx();
#endif

#if defined(__aarch64__)
/// Our own, for one instruction set each; codes are read where they lie.
LinearKernel int8_product_neon(LinearOperation operation);
LinearKernel int8_product_neon_dotprod(LinearOperation operation);
LinearKernel int8_product_neon_i8mm(LinearOperation operation);
#endif

}  // namespace torchao_cpp
