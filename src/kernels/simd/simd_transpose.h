// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sums from weight rows to rows of x, for the instruction set of the Simd included before.

#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

/// Squares of kLanes weight rows by kLanes rows of x; floats from one to the next along either, and
/// from row to row in one.
struct SumSquares {
  const float* first;
  std::int64_t weight_stride, x_stride, row_stride;
};

// 32-bit sums of m and count -> [m][count]. Lanes are moved, whatever they hold.
[[gnu::noinline]] void transpose_sums(const SumSquares& sums, std::int64_t m, std::int64_t count,
                                      float* out) {
  constexpr std::int64_t kSide = Simd::kLanes;
  for (std::int64_t m0 = 0; m0 < m; m0 += kSide) {
    for (std::int64_t n = 0; n < count; n += kSide) {
      const std::int64_t columns = smaller(kSide, count - n);
      const float* square =
          sums.first + n / kSide * sums.weight_stride + m0 / kSide * sums.x_stride;
      Simd::Floats v[kSide];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kSide; ++i)
        v[i] = i < columns ? Simd::load(square + i * sums.row_stride) : Simd::zero();
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

/// Sums [count][stride].
inline void transpose_sums(const float* sums, std::int64_t stride, std::int64_t m,
                           std::int64_t count, float* out) {
  transpose_sums({sums, Simd::kLanes * stride, Simd::kLanes, stride}, m, count, out);
}

}  // namespace
}  // namespace torchao_cpp
