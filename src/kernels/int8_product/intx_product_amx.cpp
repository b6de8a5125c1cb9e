// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles, as int8_product_amx.cpp has them: the sums
// of each group leave the tiles to be scaled.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_intx_product.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kBlockRows = 96;
static_assert(kBlockRows % (2 * kAmxRows) == 0);
// Tiles along K at a time: two columns of tiles of x are 32 KiB of them.
constexpr std::int64_t kBlockTiles = 16;
static_assert(kBlockTiles % kRound == 0);
constexpr std::int64_t kWeightBytes = kBlockRows / kAmxRows * kBlockTiles * kAmxBytes;
constexpr std::int64_t kGroupSums = 4 * kAmxRows * kAmxRows;

std::int64_t intx_scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  if (m <= kDotRows) return 0;
  return kWeightBytes + kGroupSums * 4 + kBlockRows * AmxPackedX::padded_rows(m) * 4;
}

/// A group within a tile is not worth one: half of it would be zeros.
bool takes_whole_tiles(std::int64_t group_columns) noexcept { return group_columns % kBytes == 0; }

// Rows n0 .. n0 + count, columns k0 .. k1: tiles [count / 16][kBlockTiles]. Rows that only fill a
// tile stay as they are: their sums are not used.
void read_tiles(const IntxRows& w, std::int64_t n0, std::int64_t count, std::int64_t k0,
                std::int64_t k1, std::byte* out) {
  with_bits(w.bits, [&]<int kBits>() {
    for (std::int64_t i = 0; i < count; ++i) {
      std::byte* row = out + i / kAmxRows * kBlockTiles * kAmxBytes + i % kAmxRows * kAmxRowBytes;
      read_intx<kBits>(w, n0 + i, k0, k1, [&](std::int64_t vector, Bytes codes) {
        SimdBytes::store(row + (vector - k0 / kBytes) * kAmxBytes, codes);
      });
    }
  });
}

// sums [rows][stride] += the sums of one group [32][32], scaled.
TORCHAO_CPP_ALWAYS_INLINE void add_scaled(const IntxRows& w, std::int64_t n, std::int64_t rows,
                                          std::int64_t group, const std::int32_t* group_sums,
                                          float* sums, std::int64_t stride) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const Floats scale = Simd::set1(scale_at(w, (n + i) * w.groups + group));
    for (int half = 0; half < 2; ++half) {
      float* to = sums + i * stride + half * kAmxRows;
      const Floats sum = SimdBytes::to_floats(
          SimdBytes::load(group_sums + i * 2 * kAmxRows + half * kAmxRows));
      Simd::store(to, Simd::fma(sum, scale, Simd::load(to)));
    }
  }
}

void intx_multiply(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,  std::int64_t m, std::byte* scratch,
                   float* out) noexcept {
  if (m <= kDotRows) return intx_dot(w, n0, count, x, m, out);
  std::byte* const weight = scratch;
  auto* const group_sums = reinterpret_cast<std::int32_t*>(scratch + kWeightBytes);
  auto* const sums = reinterpret_cast<float*>(group_sums + kGroupSums);
  const std::int64_t stride = AmxPackedX::padded_rows(m);
  const std::int64_t all_tiles = AmxPackedX::tiles(w.columns);
  for (std::int64_t i = 0; i < count * stride; i += kIntLanes) Simd::store(sums + i, Simd::zero());
  const TileScope scope;
  for (std::int64_t t0 = 0; t0 < all_tiles; t0 += kBlockTiles) {
    const std::int64_t t1 = smaller(t0 + kBlockTiles, all_tiles);
    read_tiles(w, n0, count, t0 * kBytes, smaller(w.columns, t1 * kBytes), weight);
    for (std::int64_t r = 0; r < stride; r += 2 * kAmxRows) {
      const std::byte* x0 = x + (r / kAmxRows * all_tiles + t0) * kAmxBytes;
      const std::byte* x1 = x0 + all_tiles * kAmxBytes;
      for (std::int64_t n = 0; n < count; n += 2 * kAmxRows) {
        const std::byte* w0 = weight + n / kAmxRows * kBlockTiles * kAmxBytes;
        const std::byte* w1 = w0 + kBlockTiles * kAmxBytes;
        for (std::int64_t t = t0; t < t1;) {
          const std::int64_t group = w.groups == 1 ? 0 : t * kBytes / w.group_columns;
          const std::int64_t end =
              w.groups == 1 ? t1 : smaller(t1, (group + 1) * w.group_columns / kBytes);
          const std::int64_t at = (t - t0) * kAmxBytes;
          TORCHAO_CPP_TILE_BLOCK(TORCHAO_CPP_TILE_DOT_INT8, w0 + at, w1 + at, x0 + at, x1 + at,
                                 end - t, group_sums, 2 * kAmxRows, true);
          add_scaled(w, n0 + n, smaller(2 * kAmxRows, count - n), group, group_sums,
                     sums + n * stride + r, stride);
          t = end;
        }
      }
    }
  }
  transpose_sums(sums, stride, m, count, out);
}

constexpr IntxProduct kIntxProduct{kXOffset,
                                   kBytes,
                                   kBlockRows,
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
