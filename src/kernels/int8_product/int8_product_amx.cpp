// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles: 16 weight rows of 64 codes are the left
// operand as they lie, x the right one.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_int8_product.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

std::int64_t scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : amx_scratch_bytes(m);
}

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, std::byte* scratch, std::int32_t* sums) noexcept {
  if (m <= kDotRows) return dot(w, n0, count, x, m, sums);
  const std::int8_t* rows = w.codes + n0 * w.columns;
  const auto read = [&](std::int64_t t0, std::int64_t tiles) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < rounded_up(count, 2 * kAmxRows); ++i) {
      std::byte* to = amx_weight_row(scratch, i);
      const std::int8_t* from = rows + i * w.columns;
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t k = (t0 + t) * kBytes;
        const std::int64_t left = w.columns - k;
        Bytes codes = SimdBytes::zero();  // Rows that only fill a tile.
        if (i < count) {
          codes = left >= kBytes ? SimdBytes::load(from + k) : SimdBytes::load_first(from + k, left);
        }
        SimdBytes::store(to + t * kAmxBytes, codes);
      }
    }
  };
  amx_gemm(count, m, AmxPackedX::tiles(w.columns), x, scratch, read,
           [&](const std::byte* w0, const std::byte* w1, const std::byte* x0, const std::byte* x1,
               std::int64_t t0, std::int64_t tiles, std::byte* block, std::int64_t)
               __attribute__((always_inline)) {
                 TORCHAO_CPP_TILE_BLOCK(TORCHAO_CPP_TILE_DOT_INT8, w0, w1, x0, x1, tiles, block,
                                        t0 == 0);
               });
  amx_transpose_sums(scratch, m, count, reinterpret_cast<float*>(sums));
}

constexpr Int8Product kInt8Product{kXOffset,          kAmxBlockRows,     AmxPackedX::packed_bytes,
                                   AmxPackedX::units, AmxPackedX::pack, scratch_bytes,
                                   multiply,          finish_sums};

}  // namespace

const Int8Product& int8_product_amx_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
