// SPDX-License-Identifier: Apache-2.0
#pragma once

// x as products of bytes in tiles take it: few rows as simd_packed_x.h has them; many as right
// operands, [16 rows of x][K / 64][16][16 rows of x][4].

#include "kernels/int8_product/simd_packed_x.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

struct AmxPackedX {
  static std::int64_t tiles(std::int64_t columns) { return (columns + kBytes - 1) / kBytes; }
  static std::int64_t packed_bytes(std::int64_t m, std::int64_t columns) noexcept {
    return m <= kDotRows ? m * dot_stride(columns) : amx_tiles(m) * tiles(columns) * kAmxBytes;
  }
  static std::int64_t units(std::int64_t m) noexcept { return m <= kDotRows ? m : amx_tiles(m); }
  static void pack(const std::int8_t* x, std::int64_t m, std::int64_t columns, std::int64_t unit,
                   std::byte* packed) noexcept {
    if (m <= kDotRows) return pack_dot_row(x, columns, unit, packed);
    for (std::int64_t k = 0; k < columns; k += kBytes) {
      std::byte* out = packed + amx_x_offset(m, tiles(columns), unit, k / kBytes);
      // A tile is the transpose of 16 rows of 16 quads.
      Simd::Floats v[kAmxRows];
      const std::int64_t count = smaller(kBytes, columns - k);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kAmxRows; ++r) {
        const std::int64_t row = unit * kAmxRows + r;
        v[r] = row < m ? load_quads(x + row * columns + k, count) : Simd::zero();
      }
      Simd::transpose(v);
      for (int r = 0; r < kAmxRows; ++r)
        Simd::store(reinterpret_cast<float*>(out + r * kAmxRowBytes), v[r]);
    }
  }
};

}  // namespace
}  // namespace torchao_cpp
