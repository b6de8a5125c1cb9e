// SPDX-License-Identifier: Apache-2.0
#pragma once

// Many rows of x, for instruction sets whose vectors multiply bytes: sums of a few weight rows and
// up to four vectors of x rows at a time. x lies in panels, so that a weight row needs no
// transposing: each four of its codes are repeated.

#include "kernels/int8_product/simd_int8_product.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

constexpr int kMaxPanelVectors = SimdBytes::kTileRows4 != 0 ? 4 : 2;
using Panels = XPanels<kMaxPanelVectors>;

constexpr std::int64_t kGemmBlock = 96;
static_assert(kGemmBlock % 12 == 0, "tiles of 3, 6 and 12 rows");
// Columns at a time: a panel of 64 rows of x is 32 KiB of them.
constexpr std::int64_t kGemmColumns = 512;
// They are copied, with a line more from a row to the next: rows of a weight often lie so that all
// of them fall into one set of a cache.
constexpr std::int64_t kGemmStride = kGemmColumns + 64;
// Up to so many panels of x a tile's rows are copied at a time and stay in the first-level cache.
constexpr std::int64_t kFewPanels = 2;

// w [rows][columns] into `out`, rows kGemmStride apart, zeros behind them.
void copy_block(const std::int8_t* w, std::int64_t w_stride, std::int64_t rows,
                std::int64_t columns, std::byte* out) {
  for (std::int64_t r = 0; r < rows; ++r, w += w_stride, out += kGemmStride) {
    std::int64_t k = 0;
    for (; k + kBytes <= columns; k += kBytes) SimdBytes::store(out + k, SimdBytes::load(w + k));
    if (k < columns) SimdBytes::store(out + k, SimdBytes::load_first(w + k, columns - k));
  }
}

// sums [kRows][kVectors lanes] += w [kRows][quads][4] x [quads][kVectors lanes][4].
// w's rows are kGemmStride apart. Where `next` is not null, what will be multiplied next, rows
// next_stride apart, is asked for line by line: all at once would wait for each other.
template <int kRows, int kVectors>
[[gnu::noinline]] void int8_tile(const std::byte* w, const std::byte* x, std::int64_t quads,
                                 const std::int8_t* next, std::int64_t next_stride,
                                 std::int32_t* sums, std::int64_t sum_stride) {
  Ints acc[kRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    acc[r][v] = SimdBytes::load(sums + r * sum_stride + v * kIntLanes);
  constexpr std::int64_t kLineQuads = 16;
  static_assert(kRows <= kLineQuads);
  for (std::int64_t q = 0; q < quads; ++q) {
    if (next != nullptr && q % kLineQuads < kRows)
      prefetch_far(next + q % kLineQuads * next_stride + q / kLineQuads * 64);
    Bytes xk[kVectors];
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) xk[v] = SimdBytes::load(x + (q * kVectors + v) * kBytes);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) {
      std::int32_t four;
      std::memcpy(&four, w + r * kGemmStride + q * 4, 4);
      const Bytes wk = SimdBytes::repeat4(four);
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = SimdBytes::dot4(acc[r][v], xk[v], wk);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    SimdBytes::store(sums + r * sum_stride + v * kIntLanes, acc[r][v]);
}

template <int kRows, int kVectors>
void int8_gemm(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
               std::int64_t m, std::byte* weight, std::int32_t* sums) {
  constexpr std::int64_t kPanelRows = kVectors * kIntLanes;
  const std::int64_t stride = Panels::padded_rows(m);
  const std::int64_t panels = stride / kPanelRows;
  const std::int64_t all_quads = (w.columns + 3) / 4;
  for (std::int64_t i = 0; i < count * stride; i += kIntLanes)
    SimdBytes::store(sums + i, SimdBytes::zero());
  const std::int64_t step = panels <= kFewPanels ? kRows : kGemmBlock;
  for (std::int64_t r0 = 0; r0 < count; r0 += step) {
    const std::int64_t rows = smaller(step, count - r0);
    for (std::int64_t k0 = 0; k0 < w.columns; k0 += kGemmColumns) {
      const std::int64_t columns = smaller(kGemmColumns, w.columns - k0);
      const bool is_last = k0 + columns == w.columns;
      const std::int8_t* const from = w.codes + (n0 + r0) * w.columns + k0;
      copy_block(from, w.columns, rows, columns, weight);
      const std::int8_t* const next_block = from + (is_last ? rows * w.columns - k0 : kGemmColumns);
      const std::int64_t quads = (columns + 3) / 4;
      for (std::int64_t p = 0; p < panels; ++p) {
        const std::byte* xp = x + (p * all_quads + k0 / 4) * kPanelRows * 4;
        std::int32_t* out = sums + r0 * stride + p * kPanelRows;
        const auto next = [&](std::int64_t r) {
          return p == 0 ? next_block + r * w.columns : nullptr;
        };
        std::int64_t r = 0;
        for (; r + kRows <= rows; r += kRows)
          int8_tile<kRows, kVectors>(weight + r * kGemmStride, xp, quads, next(r), w.columns,
                                     out + r * stride, stride);
        for (; r < rows; ++r)
          int8_tile<1, kVectors>(weight + r * kGemmStride, xp, quads, next(r), w.columns,
                                 out + r * stride, stride);
      }
    }
  }
}

constexpr std::int64_t kBlockBytes = kGemmBlock * kGemmStride;

std::int64_t scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : kBlockBytes + kGemmBlock * Panels::padded_rows(m) * 4;
}

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, std::byte* scratch, std::int32_t* sums) noexcept {
  if (m <= kDotRows) return dot(w, n0, count, x, m, sums);
  auto* wide = reinterpret_cast<std::int32_t*>(scratch + kBlockBytes);
  if (Panels::vectors(m) == 1) {
    int8_gemm<SimdBytes::kTileRows1, 1>(w, n0, count, x, m, scratch, wide);
  } else if (Panels::vectors(m) == 2) {
    int8_gemm<SimdBytes::kTileRows2, 2>(w, n0, count, x, m, scratch, wide);
  } else if constexpr (SimdBytes::kTileRows4 != 0) {
    int8_gemm<SimdBytes::kTileRows4, 4>(w, n0, count, x, m, scratch, wide);
  }
  transpose_sums(reinterpret_cast<const float*>(wide), Panels::padded_rows(m), m, count,
                 reinterpret_cast<float*>(sums));
}

constexpr Int8Product kInt8Product{kXOffset,      kGemmBlock,   Panels::packed_bytes,
                                   Panels::units, Panels::pack, scratch_bytes,
                                   multiply,      finish_sums};

}  // namespace
}  // namespace torchao_cpp
