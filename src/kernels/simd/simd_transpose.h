// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sums from weight rows to rows of x, for the instruction set of the Simd included before.

#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

// 32-bit sums [count][stride] of m -> [m][count]. Lanes are moved, whatever they hold.
[[gnu::noinline]] void transpose_sums(const float* sums, std::int64_t stride, std::int64_t m,
                                      std::int64_t count, float* out) {
  constexpr std::int64_t kSide = Simd::kLanes;
  for (std::int64_t m0 = 0; m0 < m; m0 += kSide) {
    for (std::int64_t n = 0; n < count; n += kSide) {
      const std::int64_t columns = smaller(kSide, count - n);
      Simd::Floats v[kSide];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kSide; ++i)
        v[i] = i < columns ? Simd::load(sums + (n + i) * stride + m0) : Simd::zero();
      Simd::transpose(v);
      const std::int64_t rows = smaller(kSide, m - m0);
      if (columns == kSide) {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kSide; ++i)
          if (i < rows) Simd::store(out + (m0 + i) * count + n, v[i]);
      } else {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kSide; ++i)
          if (i < rows) Simd::store_first(out + (m0 + i) * count + n, v[i], columns);
      }
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
