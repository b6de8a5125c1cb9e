// SPDX-License-Identifier: Apache-2.0
#include "kernels/int8_product/int8_row_product.h"

#include <algorithm>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

// Multiply-adds that are worth a thread.
constexpr std::int64_t kGrain = 1 << 16;

// |sum| <= K * 2^14, so K up to 131071 fits, as in torch's int8 product.
std::int32_t dot(const std::int8_t* a, const std::int8_t* b, std::int64_t count) noexcept {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    const auto x = static_cast<std::int16_t>(a[k]);
    const auto w = static_cast<std::int16_t>(b[k]);
    sum += x * w;
  }
  return sum;
}

}  // namespace

void int8_row_product(const Int8Linear& linear, const LinearArgs& args,
                      const Int8Operand& operand) noexcept {
  const std::int64_t k = linear.input_size();
  const std::int64_t work = std::max<std::int64_t>(k * args.m, 1);
  parallel_for(linear.output_size(), kGrain / work + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t m = 0; m < args.m; ++m) {
        const std::int32_t sum = dot(operand.codes + m * k, linear.codes() + n * k, k);
        linear.finish(args, operand, m, 1, n, 1, &sum);
      }
    }
  });
}

}  // namespace torchao_cpp
