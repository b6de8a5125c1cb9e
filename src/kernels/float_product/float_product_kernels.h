// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Kernels of every operation that is a product of float operands: unquantized, weight-only, and
/// those whose activation is quantized and taken back or multiplied as float codes.

/// row_product(): plain code, no memory beyond the activation's copy. What the others are tested
/// against.
LinearKernel float_product_ref(LinearOperation operation);

/// oneDNN's float32 matrix product on panels of weight rows, which are dequantized as they are
/// needed.
LinearKernel float_product_onednn(LinearOperation operation);

#if defined(__x86_64__)
/// Own products for AMX, AVX-512 (in bfloat16 and in float32) and AVX2; see float_product_simd.cpp.
LinearKernel float_product_amx(LinearOperation operation);
LinearKernel float_product_avx512_bf16(LinearOperation operation);
LinearKernel float_product_avx512(LinearOperation operation);
LinearKernel float_product_avx2(LinearOperation operation);
#endif

#if defined(__aarch64__)
/// The same for NEON.
LinearKernel float_product_neon(LinearOperation operation);
#endif

}  // namespace torchao_cpp
