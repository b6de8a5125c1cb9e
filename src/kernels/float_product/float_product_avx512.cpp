// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt); nothing but the function below leaves this file.
#include "kernels/simd/simd_avx512.h"
// Simd first.
#include "kernels/float_product/simd_float_product.h"
#include "kernels/float_product/simd_products.h"

namespace torchao_cpp {

const FloatProduct& float_product_avx512_functions() noexcept { return kFloatProduct; }

}  // namespace torchao_cpp
