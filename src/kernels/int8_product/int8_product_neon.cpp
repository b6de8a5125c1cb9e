// SPDX-License-Identifier: Apache-2.0
// For aarch64 alone; nothing but the function below leaves this file.
#include "kernels/int8_product/neon_int8_product.h"

namespace torchao_cpp {
namespace {

struct NeonBytes {
  static constexpr std::int64_t kUnit = 0;

  // Two products of -128 and -128 leave 16 bits, so that each is widened before the next.
  [[gnu::always_inline]] static int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    return vpadalq_s16(sum, vmull_high_s8(a, b));
  }
};

}  // namespace
}  // namespace torchao_cpp

#include "kernels/int8_product/neon_int8_functions.h"

namespace torchao_cpp {

const Int8Product& int8_product_neon_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
