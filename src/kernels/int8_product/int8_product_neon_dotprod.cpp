// SPDX-License-Identifier: Apache-2.0
// Compiled for dot products of bytes (see CMakeLists.txt); nothing but the function below leaves
// this file.
#include "kernels/int8_product/neon_int8_product.h"

namespace torchao_cpp {
namespace {

struct NeonBytes {
  static constexpr std::int64_t kUnit = 4;

  [[gnu::always_inline]] static int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
    return vdotq_s32(sum, a, b);
  }

  // A sum for each weight row and x row: four codes of a weight row with those of four x rows.
  [[gnu::noinline]] static void tile(const std::int8_t* const (&w)[kTileRows], std::int64_t columns,
                                     const std::int8_t* x, Tile& out) {
    int32x4_t sums[kTileRows][2];
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) sums[r][0] = sums[r][1] = vdupq_n_s32(0);
    for_tile_columns(
        w, columns,
        [&](const int8x16_t(&codes)[kTileRows], std::int64_t k) __attribute__((always_inline)) {
          const std::int8_t* from = x + k * kTileRows;
          quad<0>(codes, from, sums);
          quad<1>(codes, from, sums);
          quad<2>(codes, from, sums);
          quad<3>(codes, from, sums);
        });
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      vst1q_s32(out[r], sums[r][0]);
      vst1q_s32(out[r] + 4, sums[r][1]);
    }
  }

 private:
  template <int kQuad>
  [[gnu::always_inline]] static void quad(const int8x16_t (&codes)[kTileRows], const std::int8_t* x,
                                          int32x4_t (&sums)[kTileRows][2]) {
    const int8x16_t first = vld1q_s8(x + kQuad * 32);
    const int8x16_t second = vld1q_s8(x + kQuad * 32 + 16);
#pragma GCC unroll 8
    for (int r = 0; r < kTileRows; ++r) {
      sums[r][0] = vdotq_laneq_s32(sums[r][0], first, codes[r], kQuad);
      sums[r][1] = vdotq_laneq_s32(sums[r][1], second, codes[r], kQuad);
    }
  }
};

}  // namespace
}  // namespace torchao_cpp

#include "kernels/int8_product/neon_int8_functions.h"

namespace torchao_cpp {

const Int8Product& int8_product_neon_dotprod_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
