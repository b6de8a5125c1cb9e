// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loops around the tiles of amx_tiles.h, for a block of weight rows and all of x. Included after
// simd_avx512.h.

#include <cstddef>

#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

/// Weight rows of a block.
constexpr std::int64_t kAmxBlockRows = 96;
static_assert(kAmxBlockRows % (2 * kAmxRows) == 0);
/// Tiles along K at a time: two columns of tiles of x and two of the weight are 32 KiB of them, so that
/// both stay in the first-level cache.
constexpr std::int64_t kAmxBlockTiles = 8;
/// Weight tiles [kAmxBlockRows / 16][kAmxBlockTiles].
constexpr std::int64_t kAmxWeightBytes =
    kAmxBlockRows / kAmxRows * kAmxBlockTiles * kAmxBytes;

/// Row i of a block of weight rows, in the first of its tiles.
inline std::byte* amx_weight_row(std::byte* weight, std::int64_t i) {
  return weight + i / kAmxRows * kAmxBlockTiles * kAmxBytes + i % kAmxRows * kAmxRowBytes;
}

/// Rows of x, padded: sums are made in blocks of two tiles.
constexpr std::int64_t amx_padded_rows(std::int64_t m) { return rounded_up(m, 2 * kAmxRows); }

/// Scratch of amx_gemm(): weight tiles and sums of all blocks [weight pairs][x pairs].
constexpr std::int64_t amx_scratch_bytes(std::int64_t m) {
  return kAmxWeightBytes + kAmxBlockRows * amx_padded_rows(m) * 4;
}

/// Calls multiply(w0, w1, x0, x1, t0, tiles, sums, i) for each 32 x 32 block of `count` weight rows and m
/// rows of x, K cut into runs of `tiles` tiles from tile t0; i counts the blocks of one run. Before a
/// run, read(t0, tiles) fills the weight tiles. x: [16 rows of x][all_tiles].
template <typename Read, typename Multiply>
TORCHAO_CPP_ALWAYS_INLINE void amx_gemm(std::int64_t count, std::int64_t m, std::int64_t all_tiles,
                                        const std::byte* x, std::byte* scratch, const Read& read,
                                        const Multiply& multiply) {
  const std::int64_t x_pairs = amx_padded_rows(m) / (2 * kAmxRows);
  const std::int64_t weight_pairs = (count + 2 * kAmxRows - 1) / (2 * kAmxRows);
  std::byte* const sums = scratch + kAmxWeightBytes;
  const TileScope scope;
  for (std::int64_t t0 = 0; t0 < all_tiles; t0 += kAmxBlockTiles) {
    const std::int64_t tiles = smaller(kAmxBlockTiles, all_tiles - t0);
    read(t0, tiles);
    for (std::int64_t r = 0; r < x_pairs; ++r) {
      const std::byte* x0 = x + (2 * r * all_tiles + t0) * kAmxBytes;
      for (std::int64_t n = 0; n < weight_pairs; ++n) {
        const std::byte* w0 = scratch + 2 * n * kAmxBlockTiles * kAmxBytes;
        multiply(w0, w0 + kAmxBlockTiles * kAmxBytes, x0, x0 + all_tiles * kAmxBytes, t0, tiles,
                 sums + (n * x_pairs + r) * kAmxBlockSums * 4, n);
      }
    }
  }
}

/// What amx_gemm() left in its scratch -> [m][count].
[[gnu::noinline]] void amx_transpose_sums(const std::byte* scratch, std::int64_t m,
                                          std::int64_t count, float* out) {
  const std::int64_t x_pairs = amx_padded_rows(m) / (2 * kAmxRows);
  const auto* sums = reinterpret_cast<const float*>(scratch + kAmxWeightBytes);
  for (std::int64_t r = 0; r < m; r += kAmxRows) {
    const std::int64_t rows = smaller(kAmxRows, m - r);
    for (std::int64_t n = 0; n < count; n += kAmxRows) {
      const std::int64_t columns = smaller(kAmxRows, count - n);
      const float* tile = sums + (n / 32 * x_pairs + r / 32) * kAmxBlockSums +
                          (r / 16 % 2 * 2 + n / 16 % 2) * kAmxRows * kAmxRows;
      Simd::Floats v[kAmxRows];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kAmxRows; ++i) v[i] = Simd::load(tile + i * kAmxRows);
      Simd::transpose(v);
      float* to = out + r * count + n;
      if (columns == kAmxRows) {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kAmxRows; ++i)
          if (i < rows) Simd::store(to + i * count, v[i]);
      } else {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kAmxRows; ++i)
          if (i < rows) Simd::store_first(to + i * count, v[i], columns);
      }
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
