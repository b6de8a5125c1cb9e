// SPDX-License-Identifier: Apache-2.0
#pragma once

// gemm() of a FloatProduct, for the instruction set of the Simd included before: sums of kTileRows
// weight rows and two vectors of x rows at a time. Both sides are words of 32 bits along K: a float32
// or a pair of bfloat16. x lies with its rows side by side, [panel][words][kPanel], so that a weight
// row needs no transposing: each of its words is broadcast.

#include "kernels/float_product/code_rows.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

constexpr int kTileRows = Simd::kGemmRows;
constexpr std::int64_t kGemmBlock = 4 * kTileRows;
// Words at a time: kGemmBlock rows of them are 96 KiB and a panel of x 64 KiB.
constexpr std::int64_t kGemmWords = 512;
constexpr std::int64_t kPanel = 2 * Simd::kLanes;

std::int64_t x_panels(std::int64_t m) noexcept { return (m + kPanel - 1) / kPanel; }
std::int64_t padded_rows(std::int64_t m) { return x_panels(m) * kPanel; }

/// Floats of all panels of x.
std::int64_t panel_floats(std::int64_t m, std::int64_t words) { return padded_rows(m) * words; }

/// Floats of the scratch of multiply_block().
std::int64_t block_floats(std::int64_t m) { return kGemmBlock * (kGemmWords + padded_rows(m)); }

// sums [kTileRows][kPanel] += w [kTileRows][words] x [words][kPanel]; w's rows are kGemmWords apart.
// Multiply::add(sum, w, x) adds the products of words.
template <typename Multiply, int kVectors>
[[gnu::noinline]] void tile(const float* w, const float* x, std::int64_t words, float* sums,
                            std::int64_t sum_stride) {
  // Unrolled everywhere: an index that varies would keep the sums in memory.
  Simd::Floats acc[kTileRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kTileRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      acc[r][v] = Simd::load(sums + r * sum_stride + v * Simd::kLanes);
  for (std::int64_t k = 0; k < words; ++k) {
    Simd::Floats xk[kVectors];
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) xk[v] = Simd::load(x + k * kPanel + v * Simd::kLanes);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kTileRows; ++r) {
      const Simd::Floats wk = Simd::set1(w[r * kGemmWords + k]);
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Multiply::add(acc[r][v], wk, xk[v]);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kTileRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      Simd::store(sums + r * sum_stride + v * Simd::kLanes, acc[r][v]);
}

/// out [m][count] = x [m] times `count` weight rows. take_apart(w0, words, weight) fills words w0 .. of
/// the rows of `weight`, kGemmWords apart. scratch: block_floats(m).
template <typename Multiply, typename TakeApart>
void multiply_block(std::int64_t count, std::int64_t all_words, const float* x, std::int64_t m,
                    float* scratch, float* out, const TakeApart& take_apart) {
  float* const weight = scratch;
  float* const sums = scratch + kGemmBlock * kGemmWords;
  const std::int64_t stride = padded_rows(m);
  const std::int64_t rows = rounded_up(count, kTileRows);
  for (std::int64_t i = 0; i < rows * stride; i += Simd::kLanes)
    Simd::store(sums + i, Simd::zero());
  for (std::int64_t w0 = 0; w0 < all_words; w0 += kGemmWords) {
    const std::int64_t words = smaller(kGemmWords, all_words - w0);
    take_apart(w0, words, weight);
    // Rows that only fill a tile.
    for (std::int64_t i = count; i < rows; ++i)
      for (std::int64_t k = 0; k < words; ++k) weight[i * kGemmWords + k] = 0.0f;
    for (std::int64_t p = 0; p < x_panels(m); ++p) {
      const float* xp = x + (p * all_words + w0) * kPanel;
      const bool is_half = m - p * kPanel <= Simd::kLanes;
      for (std::int64_t r = 0; r < rows; r += kTileRows) {
        const float* wr = weight + r * kGemmWords;
        float* s = sums + r * stride + p * kPanel;
        if (is_half) {
          tile<Multiply, 1>(wr, xp, words, s, stride);
        } else {
          tile<Multiply, 2>(wr, xp, words, s, stride);
        }
      }
    }
  }
  transpose_sums(sums, stride, m, count, out);
}

}  // namespace
}  // namespace torchao_cpp
