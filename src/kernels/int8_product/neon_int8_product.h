// SPDX-License-Identifier: Apache-2.0
#pragma once

// The functions of an Int8Product for NEON, but for those that differ by instruction set: the
// including file defines struct NeonBytes (below) after this header's first part and includes
// neon_int8_functions.h. Everything is in its unnamed namespace; see simd/simd_avx512.h.

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/int8_product/int8_product.h"
#include "kernels/simd/simd_neon.h"
#include "kernels/simd/simd_epilogue.h"

namespace torchao_cpp {
namespace {

/// Bytes of a vector; x is padded with zeros to whole ones.
constexpr std::int64_t kBytes = 16;
/// Rows of x and of the weight that a tile takes.
constexpr int kTileRows = 8;
using Tile = std::int32_t[kTileRows][kTileRows];  ///< [weight row][x row]

inline std::int64_t padded_columns(std::int64_t columns) {
  return (columns + kBytes - 1) / kBytes * kBytes;
}

/// Codes from `count` on are 0.
inline int8x16_t load_codes(const std::int8_t* p, std::int64_t count) {
  if (count >= kBytes) return vld1q_s8(p);
  std::int8_t codes[kBytes] = {};
  std::memcpy(codes, p, static_cast<std::size_t>(count));
  return vld1q_s8(codes);
}

/// Calls step(codes, k) with the codes of columns k .. k + 16 of the rows of a tile.
template <typename F>
[[gnu::always_inline]] inline void for_tile_columns(const std::int8_t* const (&rows)[kTileRows],
                                                    std::int64_t columns, const F& step) {
  int8x16_t codes[kTileRows];
  std::int64_t k = 0;
  for (; k + kBytes <= columns; k += kBytes) {
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) codes[r] = vld1q_s8(rows[r] + k);
    step(codes, k);
  }
  if (k == columns) return;
#pragma GCC unroll 8
  for (int r = 0; r < kTileRows; ++r) codes[r] = load_codes(rows[r] + k, columns - k);
  step(codes, k);
}

}  // namespace
}  // namespace torchao_cpp
