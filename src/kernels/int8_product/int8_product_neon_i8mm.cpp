// SPDX-License-Identifier: Apache-2.0
// Compiled for dot products and matrix products of bytes (see CMakeLists.txt); nothing but the
// function below leaves this file.
#include "kernels/int8_product/neon_int8_product.h"

namespace torchao_cpp {
namespace {

struct NeonBytes {
  static constexpr std::int64_t kUnit = 8;

  [[gnu::always_inline]] static int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
    return vdotq_s32(sum, a, b);
  }

  // Pairs of weight rows with pairs of x rows, eight columns at a time: 2 by 2 sums each.
  [[gnu::noinline]] static void tile(const std::int8_t* const (&w)[kTileRows], std::int64_t columns,
                                     const std::int8_t* x, Tile& out) {
    int32x4_t sums[kPairs][kPairs];
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p)
#pragma GCC unroll 4
      for (int j = 0; j < kPairs; ++j) sums[p][j] = vdupq_n_s32(0);
    for_tile_columns(
        w, columns,
        [&](const int8x16_t(&codes)[kTileRows], std::int64_t k) __attribute__((always_inline)) {
          int64x2_t wide[kTileRows];
#pragma GCC unroll 8
          for (int r = 0; r < kTileRows; ++r) wide[r] = vreinterpretq_s64_s8(codes[r]);
          int8x16_t first[kPairs], last[kPairs];
#pragma GCC unroll 4
          for (int p = 0; p < kPairs; ++p) {
            first[p] = vreinterpretq_s8_s64(vzip1q_s64(wide[2 * p], wide[2 * p + 1]));
            last[p] = vreinterpretq_s8_s64(vzip2q_s64(wide[2 * p], wide[2 * p + 1]));
          }
          const std::int8_t* from = x + k * kTileRows;
          octet(first, from, sums);
          octet(last, from + kTileRows * kUnit, sums);
        });
#pragma GCC unroll 4
    for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 4
      for (int j = 0; j < kPairs; ++j) {
        vst1_s32(out[2 * p] + 2 * j, vget_low_s32(sums[p][j]));
        vst1_s32(out[2 * p + 1] + 2 * j, vget_high_s32(sums[p][j]));
      }
    }
  }

 private:
  static constexpr int kPairs = kTileRows / 2;

  [[gnu::always_inline]] static void octet(const int8x16_t (&codes)[kPairs], const std::int8_t* x,
                                           int32x4_t (&sums)[kPairs][kPairs]) {
#pragma GCC unroll 4
    for (int j = 0; j < kPairs; ++j) {
      const int8x16_t pair = vld1q_s8(x + j * kBytes);
#pragma GCC unroll 4
      for (int p = 0; p < kPairs; ++p) sums[p][j] = vmmlaq_s32(sums[p][j], codes[p], pair);
    }
  }
};

}  // namespace
}  // namespace torchao_cpp

#include "kernels/int8_product/neon_int8_functions.h"

namespace torchao_cpp {

const Int8Product& int8_product_neon_i8mm_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
