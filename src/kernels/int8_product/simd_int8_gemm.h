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

// sums [kRows][kVectors lanes] += w [kRows][columns] x [columns / 4][kVectors lanes][4].
// w's rows are w_stride apart. The last quad may hold fewer than four columns.
template <int kRows, int kVectors>
[[gnu::noinline]] void int8_tile(const std::int8_t* w, std::int64_t w_stride, const std::byte* x,
                                 std::int64_t columns, std::int32_t* sums,
                                 std::int64_t sum_stride) {
  Ints acc[kRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      acc[r][v] = SimdBytes::load(sums + r * sum_stride + v * kIntLanes);
  const auto step = [&](const auto& quad_of, std::int64_t q) __attribute__((always_inline)) {
    Bytes xk[kVectors];
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      xk[v] = SimdBytes::load(x + (q * kVectors + v) * kBytes);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Bytes wk = SimdBytes::repeat4(quad_of(r));
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = SimdBytes::dot4(acc[r][v], xk[v], wk);
    }
  };
  std::int64_t q = 0;
  for (; q * 4 + 4 <= columns; ++q) {
    step(
        [&](int r) __attribute__((always_inline)) {
          std::int32_t four;
          std::memcpy(&four, w + r * w_stride + q * 4, 4);
          return four;
        },
        q);
  }
  if (q * 4 < columns) {
    step(
        [&](int r) __attribute__((always_inline)) {
          std::int32_t four = 0;
          std::memcpy(&four, w + r * w_stride + q * 4, static_cast<std::size_t>(columns - q * 4));
          return four;
        },
        q);
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      SimdBytes::store(sums + r * sum_stride + v * kIntLanes, acc[r][v]);
}

template <int kRows, int kVectors>
void int8_gemm(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
               std::int64_t m, std::int32_t* sums) {
  constexpr std::int64_t kPanelRows = kVectors * kIntLanes;
  const std::int64_t stride = Panels::padded_rows(m);
  const std::int64_t quads = (w.columns + 3) / 4;
  for (std::int64_t i = 0; i < count * stride; i += kIntLanes)
    SimdBytes::store(sums + i, SimdBytes::zero());
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += kGemmColumns) {
    const std::int64_t columns = smaller(kGemmColumns, w.columns - k0);
    for (std::int64_t p = 0; p < stride / kPanelRows; ++p) {
      const std::byte* xp = x + (p * quads + k0 / 4) * kPanelRows * 4;
      const std::int8_t* wk = w.codes + n0 * w.columns + k0;
      std::int32_t* out = sums + p * kPanelRows;
      std::int64_t r = 0;
      for (; r + kRows <= count; r += kRows)
        int8_tile<kRows, kVectors>(wk + r * w.columns, w.columns, xp, columns, out + r * stride,
                                   stride);
      for (; r < count; ++r)
        int8_tile<1, kVectors>(wk + r * w.columns, w.columns, xp, columns, out + r * stride,
                               stride);
    }
  }
}

std::int64_t scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : kGemmBlock * Panels::padded_rows(m) * 4;
}

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, std::byte* scratch, std::int32_t* sums) noexcept {
  if (m <= kDotRows) return dot(w, n0, count, x, m, sums);
  auto* wide = reinterpret_cast<std::int32_t*>(scratch);
  if (Panels::vectors(m) == 1) {
    int8_gemm<SimdBytes::kTileRows1, 1>(w, n0, count, x, m, wide);
  } else if (Panels::vectors(m) == 2) {
    int8_gemm<SimdBytes::kTileRows2, 2>(w, n0, count, x, m, wide);
  } else if constexpr (SimdBytes::kTileRows4 != 0) {
    int8_gemm<SimdBytes::kTileRows4, 4>(w, n0, count, x, m, wide);
  }
  transpose_sums(reinterpret_cast<const float*>(wide), Panels::padded_rows(m), m, count,
                 reinterpret_cast<float*>(sums));
}

constexpr Int8Product kInt8Product{kXOffset,      kGemmBlock,    Panels::packed_bytes, Panels::units,
                                   Panels::pack, scratch_bytes,        multiply, finish_sums};

}  // namespace
}  // namespace torchao_cpp
