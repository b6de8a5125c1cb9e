// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/bytes_avx2.h"

#include "kernels/int8_product/simd_intx_gemm.h"

namespace torchao_cpp {

const IntxProduct& intx_product_avx2_functions() noexcept { return kIntxProduct; }

}  // namespace torchao_cpp
