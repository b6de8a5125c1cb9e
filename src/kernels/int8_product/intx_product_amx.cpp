// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles, as int8_product_amx.cpp has them: the sums
// of each group leave the tiles to be scaled.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_intx_product.h"

namespace torchao_cpp {
namespace {

static_assert(kAmxBlockTiles % kRound == 0);
constexpr std::int64_t kGroupBytes = kAmxBlockSums * 4;

std::int64_t intx_scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : amx_scratch_bytes(m) + kGroupBytes;
}

/// A group within a tile is not worth one: half of it would be zeros.
bool takes_whole_tiles(std::int64_t group_columns) noexcept { return group_columns % kBytes == 0; }

// sums += the sums of one group, scaled; both as a block has them. n: the first of its weight rows.
TORCHAO_CPP_ALWAYS_INLINE void add_scaled(const IntxRows& w, std::int64_t n, std::int64_t rows,
                                          std::int64_t group, const std::byte* group_sums,
                                          bool is_first, float* sums) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const Floats scale = Simd::set1(scale_at(w, (n + i) * w.groups + group));
    const std::int64_t at = (i / kAmxRows * kAmxRows + i % kAmxRows) * kAmxRows;
    for (int half = 0; half < 2; ++half) {
      const std::int64_t lane = at + half * 2 * kAmxRows * kAmxRows;
      const Floats sum = SimdBytes::to_floats(SimdBytes::load(group_sums + lane * 4));
      Simd::store(sums + lane, is_first ? Simd::mul(sum, scale)
                                        : Simd::fma(sum, scale, Simd::load(sums + lane)));
    }
  }
}

void intx_multiply(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                   std::int64_t m, std::byte* scratch, float* out) noexcept {
  if (m <= kDotRows) return intx_dot(w, n0, count, x, m, out);
  std::byte* const group_sums = scratch + amx_scratch_bytes(m);
  // Rows that only fill a tile stay as they are: their sums are not used.
  const auto read = [&](std::int64_t t0, std::int64_t tiles) __attribute__((always_inline)) {
    with_bits(w.bits, [&]<int kBits>() {
      for (std::int64_t i = 0; i < count; ++i) {
        std::byte* row = amx_weight_row(scratch, i);
        read_intx<kBits>(w, n0 + i, t0 * kBytes, smaller(w.columns, (t0 + tiles) * kBytes), kDotAhead,
                         [&](std::int64_t vector, Bytes codes) {
                           SimdBytes::store(row + (vector - t0) * kAmxBytes, codes);
                         });
      }
    });
  };
  amx_gemm(count, m, AmxPackedX::tiles(w.columns), x, scratch, read,
           [&](const std::byte* w0, const std::byte* w1, const std::byte* x0, const std::byte* x1,
               std::int64_t t0, std::int64_t tiles, std::byte* block, std::int64_t pair)
               __attribute__((always_inline)) {
                 const std::int64_t n = pair * 2 * kAmxRows;
                 for (std::int64_t t = t0; t < t0 + tiles;) {
                   const std::int64_t group = w.groups == 1 ? 0 : t * kBytes / w.group_columns;
                   const std::int64_t end =
                       w.groups == 1
                           ? t0 + tiles
                           : smaller(t0 + tiles, (group + 1) * w.group_columns / kBytes);
                   const std::int64_t at = (t - t0) * kAmxBytes;
                   TORCHAO_CPP_TILE_BLOCK(TORCHAO_CPP_TILE_DOT_INT8, w0 + at, w1 + at, x0 + at,
                                          x1 + at, end - t, group_sums, true);
                   add_scaled(w, n0 + n, smaller(2 * kAmxRows, count - n), group, group_sums,
                              t == 0, reinterpret_cast<float*>(block));
                   t = end;
                 }
               });
  amx_transpose_sums(scratch, m, count, out);
}

constexpr IntxProduct kIntxProduct{kXOffset,
                                   kBytes,
                                   kAmxBlockRows,
                                   takes_whole_tiles,
                                   AmxPackedX::packed_bytes,
                                   AmxPackedX::units,
                                   AmxPackedX::pack,
                                   intx_scratch_bytes,
                                   intx_multiply,
                                   finish_sums};

}  // namespace

const IntxProduct& intx_product_amx_functions() noexcept { return kIntxProduct; }

}  // namespace torchao_cpp
