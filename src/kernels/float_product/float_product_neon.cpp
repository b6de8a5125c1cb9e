// SPDX-License-Identifier: Apache-2.0
// For aarch64 alone; nothing but the function below leaves this file.
#include "kernels/simd/simd_neon.h"
// Simd first.
#include "kernels/float_product/simd_float_product.h"
#include "kernels/float_product/simd_products.h"

namespace torchao_cpp {

const FloatProduct& float_product_neon_functions() noexcept { return kFloatProduct; }

}  // namespace torchao_cpp
