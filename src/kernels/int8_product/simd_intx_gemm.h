// SPDX-License-Identifier: Apache-2.0
#pragma once

// The functions of an IntxProduct, for instruction sets whose vectors multiply bytes. Many rows of
// x: weight rows are taken apart block by block into signed bytes, and multiplied there with all of
// x.

#include "kernels/int8_product/simd_intx_product.h"
#include "kernels/int8_product/simd_packed_x.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

// Integer and float sums of a tile are both in registers.
using Panels = XPanels<2>;
template <int kVectors>
constexpr int kIntxTileRows = (SimdBytes::kTileRows4 != 0 ? 12 : 4) / kVectors;
constexpr std::int64_t kIntxBlock = 48;
// Columns at a time.
constexpr std::int64_t kIntxColumns = 512;
static_assert(kIntxColumns % kRoundColumns == 0);

struct IntxScratch {
  std::int8_t* weight;  ///< [kIntxBlock][kIntxColumns]
  float* sums;          ///< [kIntxBlock][padded rows of x]
};

IntxScratch intx_scratch_at(std::byte* base) {
  return {reinterpret_cast<std::int8_t*>(base),
          reinterpret_cast<float*>(base + kIntxBlock * kIntxColumns)};
}

/// Whole vectors, or halves where the next one may begin with the second.
bool takes_groups(std::int64_t group_columns) noexcept {
  return group_columns % kBytes == 0 || (kBytes == 64 && group_columns == 32);
}

std::int64_t intx_scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  if (m <= kDotRows) return 0;
  return kIntxBlock * kIntxColumns + kIntxBlock * Panels::padded_rows(m) * 4;
}

/// The widest plane of what is multiplied next, asked for line by line: all at once would wait for
/// each other.
struct IntxAhead {
  const std::byte* at = nullptr;  ///< Of the first row; null: nothing is asked for.
  std::int64_t row_bytes = 0;
  std::int64_t line_quads = 0;  ///< Quads of columns in a line.

  template <int kRows>
  TORCHAO_CPP_ALWAYS_INLINE void ask(std::int64_t quad) const {
    const std::int64_t row = quad & (line_quads - 1);
    if (at != nullptr && row < kRows) prefetch_far(at + row * row_bytes + quad / line_quads * 64);
  }
};

// sums [kRows][kVectors lanes] += columns k0 .. k1 of w (whose rows, from k0 on, are kIntxColumns
// apart) times x, which begins at column k0; n: the first of the rows.
template <int kRows, int kVectors>
[[gnu::noinline]] void intx_tile(const IntxRows& weight, std::int64_t n, const std::int8_t* w,
                                 const std::byte* x, std::int64_t k0, std::int64_t k1,
                                 const IntxAhead& lines, float* sums, std::int64_t sum_stride) {
  const IntxAhead ahead = lines;
  Floats total[kRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    total[r][v] = Simd::load(sums + r * sum_stride + v * kIntLanes);
  for (std::int64_t k = k0; k < k1;) {
    const std::int64_t group = weight.groups == 1 ? 0 : k / weight.group_columns;
    const std::int64_t end =
        weight.groups == 1 ? k1 : smaller(k1, (group + 1) * weight.group_columns);
    Ints acc[kRows][kVectors];
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = SimdBytes::zero();
    // Past the last column both operands are padded: x with 0.
    do {
      ahead.ask<kRows>((k - k0) / 4);
      Bytes xk[kVectors];
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v)
        xk[v] = SimdBytes::load(x + (k - k0) * kVectors * kIntLanes + v * kBytes);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kRows; ++r) {
        std::int32_t four;
        std::memcpy(&four, w + r * kIntxColumns + k - k0, 4);
        const Bytes wk = SimdBytes::repeat4(four);
        TORCHAO_CPP_UNROLL
        for (int v = 0; v < kVectors; ++v) acc[r][v] = SimdBytes::dot4_codes(acc[r][v], xk[v], wk);
      }
      k += 4;
    } while (k < end);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Floats scale = Simd::set1(scale_at(weight, (n + r) * weight.groups + group));
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v)
        total[r][v] = Simd::fma(SimdBytes::to_floats(acc[r][v]), scale, total[r][v]);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    Simd::store(sums + r * sum_stride + v * kIntLanes, total[r][v]);
}

template <int kVectors>
void intx_gemm(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
               std::int64_t m, const IntxScratch& s) {
  constexpr std::int64_t kPanelRows = kVectors * kIntLanes;
  const std::int64_t stride = Panels::padded_rows(m);
  const std::int64_t quads = (w.columns + 3) / 4;
  for (std::int64_t i = 0; i < count * stride; i += kIntLanes)
    Simd::store(s.sums + i, Simd::zero());
  constexpr int kRows = kIntxTileRows<kVectors>;
  IntxAhead ahead{nullptr, w.row_bytes, (w.bits & 4) != 0 ? 32 : (w.bits & 2) != 0 ? 64 : 128};
  static_assert(kRows <= 32);
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += kIntxColumns) {
    const std::int64_t k1 = smaller(w.columns, k0 + kIntxColumns);
    with_bits(w.bits, [&]<int kBits>() {
      for (std::int64_t i = 0; i < count; ++i) {
        read_intx<kBits>(w, n0 + i, k0, k1, 0, [&](std::int64_t vector, Bytes codes) {
          SimdBytes::store(s.weight + i * kIntxColumns + vector * kBytes - k0, codes);
        });
      }
    });
    // The next columns of these rows, or the first of those behind them.
    const std::byte* const next = k1 < w.columns
                                      ? w.codes + n0 * w.row_bytes + k1 / ahead.line_quads * 16
                                      : w.codes + (n0 + count) * w.row_bytes;
    for (std::int64_t p = 0; p < stride / kPanelRows; ++p) {
      const std::byte* xp = x + (p * quads + k0 / 4) * kPanelRows * 4;
      float* out = s.sums + p * kPanelRows;
      const auto tiles = [&]<int kCount>(std::int64_t r) {
        ahead.at = p == 0 ? next + r * w.row_bytes : nullptr;
        intx_tile<kCount, kVectors>(w, n0 + r, s.weight + r * kIntxColumns, xp, k0, k1, ahead,
                                    out + r * stride, stride);
      };
      std::int64_t r = 0;
      for (; r + kRows <= count; r += kRows) tiles.template operator()<kRows>(r);
      for (; r < count; ++r) tiles.template operator()<1>(r);
    }
  }
}

void intx_multiply(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                   std::int64_t m, std::byte* scratch, float* sums) noexcept {
  if (m <= kDotRows) return intx_dot(w, n0, count, x, m, sums);
  const IntxScratch s = intx_scratch_at(scratch);
  if (Panels::vectors(m) == 1) {
    intx_gemm<1>(w, n0, count, x, m, s);
  } else {
    intx_gemm<2>(w, n0, count, x, m, s);
  }
  transpose_sums(s.sums, Panels::padded_rows(m), m, count, sums);
}

constexpr IntxProduct kIntxProduct{kXOffset,
                                   kBytes,
                                   kIntxBlock,
                                   takes_groups,
                                   Panels::packed_bytes,
                                   Panels::units,
                                   Panels::pack,
                                   intx_scratch_bytes,
                                   intx_multiply,
                                   finish_sums,
                                   SimdBytes::kMaxCodeBits};

}  // namespace
}  // namespace torchao_cpp
