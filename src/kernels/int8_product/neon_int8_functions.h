// SPDX-License-Identifier: Apache-2.0
#pragma once

// An Int8Product of what the including file defined as struct NeonBytes:
//
//   static int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b);
//     sum with the 16 products added, to any lanes
//   static constexpr std::int64_t kUnit;
//     codes of a row that lie together in a panel of x; 0: there are no panels
//   static void tile(const std::int8_t* const (&w)[kTileRows], std::int64_t columns,
//                    const std::int8_t* x, Tile& out);
//     out of kTileRows weight rows and a panel of x; only with kUnit != 0

#include "kernels/int8_product/neon_int8_product.h"

namespace torchao_cpp {
namespace {

/// Rows of x up to which each output is a dot product of two rows.
constexpr std::int64_t kDotRows = 8;

// Packed x of a few rows: rows [m][K, padded]. Of more: panels of 8 rows,
// [panel][K / 16][16 / kUnit][8 rows][kUnit codes], zeros where there is no row or column.
inline bool has_panels(std::int64_t m) { return NeonBytes::kUnit != 0 && m > kDotRows; }

std::int64_t x_units(std::int64_t m) noexcept {
  return has_panels(m) ? (m + kTileRows - 1) / kTileRows : m;
}

std::int64_t packed_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return x_units(m) * (has_panels(m) ? kTileRows : 1) * padded_columns(columns);
}

inline void pack_row(const std::int8_t* x, std::int64_t columns, std::int8_t* to) {
  for (std::int64_t k = 0; k < columns; k += kBytes)
    vst1q_s8(to + k, load_codes(x + k, columns - k));
}

template <std::int64_t kUnit>
void pack_panel(const std::int8_t* x, std::int64_t rows, std::int64_t columns, std::int8_t* to) {
  for (std::int64_t k = 0; k < columns; k += kBytes) {
    for (std::int64_t r = 0; r < kTileRows; ++r) {
      std::int8_t codes[kBytes];
      vst1q_s8(codes, r < rows ? load_codes(x + r * columns + k, columns - k) : vdupq_n_s8(0));
      for (std::int64_t u = 0; u < kBytes / kUnit; ++u)
        std::memcpy(to + k * kTileRows + (u * kTileRows + r) * kUnit, codes + u * kUnit, kUnit);
    }
  }
}

void pack_x(const std::int8_t* x, std::int64_t m, std::int64_t columns, std::int64_t unit,
            std::byte* packed) noexcept {
  auto* to = reinterpret_cast<std::int8_t*>(packed);
  if constexpr (NeonBytes::kUnit != 0) {
    if (has_panels(m)) {
      const std::int64_t m0 = unit * kTileRows;
      return pack_panel<NeonBytes::kUnit>(x + m0 * columns, m - m0, columns,
                                          to + m0 * padded_columns(columns));
    }
  }
  pack_row(x + unit * columns, columns, to + unit * padded_columns(columns));
}

// Sums of one weight row and kM rows of x.
template <int kM>
[[gnu::always_inline]] inline void dot_row(const std::int8_t* w, std::int64_t columns,
                                           const std::int8_t* const (&x)[kM],
                                           std::int32_t (&out)[kM]) {
  constexpr int kSums = kM == 1 ? 4 : kM <= 4 ? 2 : 1;
  int32x4_t sums[kM][kSums];
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i)
#pragma GCC unroll 4
    for (int u = 0; u < kSums; ++u) sums[i][u] = vdupq_n_s32(0);
  std::int64_t k = 0;
  for (; k + 4 * kBytes <= columns; k += 4 * kBytes) {
    // Into the next rows of the weight.
    __builtin_prefetch(w + k + 1024, 0, 3);
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const int8x16_t codes = vld1q_s8(w + k + u * kBytes);
#pragma GCC unroll 8
      for (int i = 0; i < kM; ++i)
        sums[i][u % kSums] =
            NeonBytes::dot(sums[i][u % kSums], vld1q_s8(x[i] + k + u * kBytes), codes);
    }
  }
  for (; k < columns; k += kBytes) {
    const int8x16_t codes = load_codes(w + k, columns - k);
#pragma GCC unroll 8
    for (int i = 0; i < kM; ++i) sums[i][0] = NeonBytes::dot(sums[i][0], vld1q_s8(x[i] + k), codes);
  }
#pragma GCC unroll 8
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int u = 1; u < kSums; ++u) sums[i][0] = vaddq_s32(sums[i][0], sums[i][u]);
    out[i] = vaddvq_s32(sums[i][0]);
  }
}

template <int kM>
[[gnu::noinline]] void dot_rows(const Int8Rows& w, std::int64_t n0, std::int64_t count,
                                const std::int8_t* x, std::int64_t m, std::int32_t* sums) {
  const std::int8_t* rows[kM];
  for (int i = 0; i < kM; ++i) rows[i] = x + smaller(i, m - 1) * padded_columns(w.columns);
  for (std::int64_t n = 0; n < count; ++n) {
    std::int32_t out[kM];
    dot_row<kM>(w.codes + (n0 + n) * w.columns, w.columns, rows, out);
    for (int i = 0; i < kM && i < m; ++i) sums[i * count + n] = out[i];
  }
}

void dot(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::int8_t* x,
         std::int64_t m, std::int32_t* sums) {
  for (std::int64_t m0 = 0; m0 < m; m0 += kDotRows) {
    const std::int64_t rows = smaller(kDotRows, m - m0);
    const std::int8_t* from = x + m0 * padded_columns(w.columns);
    if (rows == 1) {
      dot_rows<1>(w, n0, count, from, rows, sums + m0 * count);
    } else if (rows <= 4) {
      dot_rows<4>(w, n0, count, from, rows, sums + m0 * count);
    } else {
      dot_rows<kDotRows>(w, n0, count, from, rows, sums + m0 * count);
    }
  }
}

// A tile's weight rows stay in the first-level cache while all of x passes by.
template <typename Bytes>
void multiply_panels(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::int8_t* x,
                     std::int64_t m, std::int32_t* sums) {
  for (std::int64_t n = 0; n < count; n += kTileRows) {
    const std::int64_t columns = smaller(kTileRows, count - n);
    const std::int8_t* rows[kTileRows];
    for (int r = 0; r < kTileRows; ++r)
      rows[r] = w.codes + (n0 + n + smaller(r, columns - 1)) * w.columns;
    for (std::int64_t m0 = 0; m0 < m; m0 += kTileRows) {
      Tile out;
      Bytes::tile(rows, w.columns, x + m0 * padded_columns(w.columns), out);
      for (std::int64_t i = 0; i < smaller(kTileRows, m - m0); ++i)
        for (std::int64_t r = 0; r < columns; ++r) sums[(m0 + i) * count + n + r] = out[r][i];
    }
  }
}

std::int64_t scratch_bytes(std::int64_t, std::int64_t) noexcept { return 0; }

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* packed_x,
              std::int64_t m, std::byte*, std::int32_t* sums) noexcept {
  const auto* x = reinterpret_cast<const std::int8_t*>(packed_x);
  if constexpr (NeonBytes::kUnit != 0) {
    if (has_panels(m)) return multiply_panels<NeonBytes>(w, n0, count, x, m, sums);
  }
  dot(w, n0, count, x, m, sums);
}

constexpr std::int64_t kMaxRows = 64;
constexpr Int8Product kInt8Product{0,      kMaxRows,      packed_x_bytes, x_units,
                                   pack_x, scratch_bytes, multiply,       finish_sums};

}  // namespace
}  // namespace torchao_cpp
