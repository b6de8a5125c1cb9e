// SPDX-License-Identifier: Apache-2.0
#pragma once

// The functions of an Int8Product, for the instruction set of the SimdBytes included before.
// Everything is in the including file's unnamed namespace; see simd/simd_avx512.h.
//
#include "kernels/int8_product/int8_product.h"
#include "kernels/int8_product/simd_packed_x.h"
#include "kernels/simd/simd_epilogue.h"

namespace torchao_cpp {
namespace {

template <int kM>
TORCHAO_CPP_ALWAYS_INLINE void dot_row(const std::int8_t* w, std::int64_t columns,
                                       const std::byte* x, std::int64_t m, Ints (&total)[kM]) {
  constexpr int kSums = kM == 1 ? 4 : kM <= 4 ? 2 : 1;
  const std::int64_t stride = dot_stride(columns);
  const std::byte* rows[kM];
  Ints sums[kM][kSums];
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kM; ++i) {
    rows[i] = x + smaller(i, m - 1) * stride;
    TORCHAO_CPP_UNROLL
    for (int u = 0; u < kSums; ++u) sums[i][u] = SimdBytes::zero();
  }
  std::int64_t k = 0;
  for (; k + 4 * kBytes <= columns; k += 4 * kBytes) {
    TORCHAO_CPP_UNROLL
    for (int u = 0; u < 4; ++u) {
      const std::int64_t at = k + u * kBytes;
      prefetch_far(w + at + kDotAhead);
      const Bytes codes = SimdBytes::load(w + at);
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kM; ++i)
        sums[i][u % kSums] =
            SimdBytes::dot4(sums[i][u % kSums], SimdBytes::load(rows[i] + at), codes);
    }
  }
  for (; k < columns; k += kBytes) {
    const Bytes codes =
        k + kBytes <= columns ? SimdBytes::load(w + k) : SimdBytes::load_first(w + k, columns - k);
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i)
      sums[i][0] = SimdBytes::dot4(sums[i][0], SimdBytes::load(rows[i] + k), codes);
  }
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kM; ++i) {
    total[i] = sums[i][0];
    for (int u = 1; u < kSums; ++u) total[i] = SimdBytes::add(total[i], sums[i][u]);
  }
}

template <int kM>
[[gnu::noinline]] void dot_rows(const Int8Rows& w, std::int64_t n0, std::int64_t count,
                                const std::byte* x, std::int64_t m, std::int32_t* sums) {
  for (std::int64_t i = 0; i < count; ++i) {
    Ints total[kM];
    dot_row<kM>(w.codes + (n0 + i) * w.columns, w.columns, x, m, total);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kM; ++r)
      if (r < m) sums[r * count + i] = SimdBytes::sum(total[r]);
  }
}

void dot(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x, std::int64_t m,
         std::int32_t* sums) {
  if (m == 1) return dot_rows<1>(w, n0, count, x, m, sums);
  if (m <= 4) return dot_rows<4>(w, n0, count, x, m, sums);
  dot_rows<kDotRows>(w, n0, count, x, m, sums);
}

}  // namespace
}  // namespace torchao_cpp
