// SPDX-License-Identifier: Apache-2.0
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/simd_int8_gemm.h"

namespace torchao_cpp {

const Int8Product& int8_product_avx512_vnni_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
