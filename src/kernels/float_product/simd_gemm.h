// SPDX-License-Identifier: Apache-2.0
#pragma once

// gemm() of a FloatProduct, for the instruction set of the Simd included before: sums of kTileRows
// weight rows and two vectors of x rows at a time. Both sides are words of 32 bits along K: a
// float32 or a pair of bfloat16. x lies with its rows side by side, [panel][words][kPanel], so that
// a weight row needs no transposing: each of its words is broadcast.

#include "kernels/float_product/code_rows.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

constexpr int kTileRows = Simd::kGemmRows;
constexpr std::int64_t kGemmBlock = 4 * kTileRows;
// Words at a time: kGemmBlock rows of them are 96 KiB and a panel of x 64 KiB.
constexpr std::int64_t kGemmWords = 512;
// From one of these rows to the next: a line more, so that neighbours lie in different sets of a
// cache.
constexpr std::int64_t kGemmStride = kGemmWords + 16;
constexpr std::int64_t kPanel = 2 * Simd::kLanes;

std::int64_t x_panels(std::int64_t m) noexcept { return (m + kPanel - 1) / kPanel; }
std::int64_t padded_rows(std::int64_t m) { return x_panels(m) * kPanel; }

/// Floats of all panels of x.
std::int64_t panel_floats(std::int64_t m, std::int64_t words) { return padded_rows(m) * words; }

/// Floats of the scratch of multiply_block().
std::int64_t block_floats(std::int64_t m) { return kGemmBlock * (kGemmStride + padded_rows(m)); }

// sums [kRows][kPanel] += w [kRows][words] x [words][kPanel]; w's rows are kGemmStride apart.
// Multiply::add(sum, w, x) adds the products of words. As many sums as there are registers for:
// fewer would wait for each other.
template <typename Multiply, int kVectors, int kRows = 2 / kVectors* kTileRows>
[[gnu::noinline]] void tile(const float* w, const float* x, std::int64_t words, float* sums,
                            std::int64_t sum_stride) {
  // Unrolled everywhere: an index that varies would keep the sums in memory.
  Simd::Floats acc[kRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    acc[r][v] = Simd::load(sums + r * sum_stride + v * Simd::kLanes);
  for (std::int64_t k = 0; k < words; ++k) {
    Simd::Floats xk[kVectors];
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) xk[v] = Simd::load(x + k * kPanel + v * Simd::kLanes);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Simd::Floats wk = Simd::set1(w[r * kGemmStride + k]);
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Multiply::add(acc[r][v], wk, xk[v]);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
  for (int v = 0; v < kVectors; ++v)
    Simd::store(sums + r * sum_stride + v * Simd::kLanes, acc[r][v]);
}

/// Words of a few weight rows, to be taken apart.
struct GemmBlock {
  std::int64_t row = 0, rows = 0;
  std::int64_t word = 0, words = 0;
  /// From here to the block that is next, for prefetching: it comes while this one is multiplied.
  std::int64_t rows_ahead = 0, words_ahead = 0;

  std::int64_t bytes_ahead(std::int64_t row_bytes, std::int64_t all_words) const {
    return rows_ahead * row_bytes + words_ahead * row_bytes / all_words;
  }
};

// Up to so many panels of x, a tile's weight rows at a time are taken apart: they stay in the
// first-level cache and x streams from the second. Of more, a block of x would not stay there.
constexpr std::int64_t kFewPanels = 2;

/// x [m] times `count` weight rows, for take_block_sums(). take_apart(block, weight) fills the
/// block's words into the rows of `weight`, kGemmStride apart. scratch: block_floats(m).
template <typename Multiply, typename TakeApart>
void multiply_block(std::int64_t count, std::int64_t all_words, const float* x, std::int64_t m,
                    float* scratch, const TakeApart& take_apart) {
  float* const weight = scratch;
  float* const sums = scratch + kGemmBlock * kGemmStride;
  const std::int64_t stride = padded_rows(m);
  const std::int64_t panels = x_panels(m);
  const std::int64_t padded = rounded_up(count, kTileRows);
  for (std::int64_t i = 0; i < padded * stride; i += Simd::kLanes)
    Simd::store(sums + i, Simd::zero());
  const std::int64_t step = m <= Simd::kLanes      ? 2 * kTileRows
                            : panels <= kFewPanels ? kTileRows
                                                   : kGemmBlock;
  GemmBlock block;
  for (block.row = 0; block.row < count; block.row += step) {
    block.rows = smaller(step, count - block.row);
    const std::int64_t rows = rounded_up(block.rows, kTileRows);
    for (block.word = 0; block.word < all_words; block.word += kGemmWords) {
      block.words = smaller(kGemmWords, all_words - block.word);
      const bool is_last = block.word + kGemmWords >= all_words;
      block.rows_ahead = is_last ? block.rows : 0;
      block.words_ahead = is_last ? -block.word : kGemmWords;
      take_apart(block, weight);
      // Rows that only fill a tile.
      for (std::int64_t i = block.rows; i < rows; ++i)
        for (std::int64_t k = 0; k < block.words; ++k) weight[i * kGemmStride + k] = 0.0f;
      for (std::int64_t p = 0; p < panels; ++p) {
        const float* xp = x + (p * all_words + block.word) * kPanel;
        const bool is_half = m - p * kPanel <= Simd::kLanes;
        for (std::int64_t r = 0; r < rows;) {
          const float* wr = weight + r * kGemmStride;
          float* s = sums + (block.row + r) * stride + p * kPanel;
          if (is_half && r + kTileRows < rows) {
            tile<Multiply, 1>(wr, xp, block.words, s, stride);
            r += 2 * kTileRows;
          } else {
            tile<Multiply, 2>(wr, xp, block.words, s, stride);
            r += kTileRows;
          }
        }
      }
    }
  }
}

/// out [rows][count] of x rows m0 .. m0 + rows, from the scratch of multiply_block().
void take_block_sums(const float* scratch, std::int64_t m, std::int64_t count, std::int64_t m0,
                     std::int64_t rows, float* out) {
  transpose_sums(scratch + kGemmBlock * kGemmStride + m0, padded_rows(m), rows, count, out);
}

}  // namespace
}  // namespace torchao_cpp
