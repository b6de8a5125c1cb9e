// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles: 16 weight rows of 64 codes are the left
// operand as they lie, x the right one.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_int8_product.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kBlockRows = 96;
static_assert(kBlockRows % (2 * kAmxRows) == 0);
// Tiles along K at a time: two columns of tiles of x are 32 KiB of them.
constexpr std::int64_t kBlockTiles = 16;

struct Scratch {
  std::byte* weight;   ///< [kBlockRows / 16][kBlockTiles] tiles
  std::int32_t* sums;  ///< [kBlockRows][AmxPackedX::padded_rows(m)]
};

Scratch scratch_at(std::byte* base) {
  constexpr std::int64_t kWeightBytes = kBlockRows / kAmxRows * kBlockTiles * kAmxBytes;
  return {base, reinterpret_cast<std::int32_t*>(base + kWeightBytes)};
}

std::int64_t scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  if (m <= kDotRows) return 0;
  return kBlockRows / kAmxRows * kBlockTiles * kAmxBytes + kBlockRows * AmxPackedX::padded_rows(m) * 4;
}

// Rows n0 .. n0 + count, columns from k0: tiles [count / 16][kBlockTiles], zeros where there are none.
void read_tiles(const Int8Rows& w, std::int64_t n0, std::int64_t count, std::int64_t k0,
                std::int64_t tiles, std::byte* out) {
  for (std::int64_t i = 0; i < rounded_up(count, 2 * kAmxRows); ++i) {
    std::byte* to = out + i / kAmxRows * kBlockTiles * kAmxBytes + i % kAmxRows * kAmxRowBytes;
    const std::int8_t* from = w.codes + (n0 + i) * w.columns;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t k = k0 + t * kBytes;
      const std::int64_t left = w.columns - k;
      SimdBytes::store(to + t * kAmxBytes, i >= count       ? SimdBytes::zero()
                                            : left >= kBytes ? SimdBytes::load(from + k)
                                                             : SimdBytes::load_first(from + k, left));
    }
  }
}

void multiply(const Int8Rows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, std::byte* scratch, std::int32_t* sums) noexcept {
  if (m <= kDotRows) return dot(w, n0, count, x, m, sums);
  const Scratch s = scratch_at(scratch);
  const std::int64_t stride = AmxPackedX::padded_rows(m);
  const std::int64_t all_tiles = AmxPackedX::tiles(w.columns);
  const TileScope scope;
  for (std::int64_t t0 = 0; t0 < all_tiles; t0 += kBlockTiles) {
    const std::int64_t tiles = smaller(kBlockTiles, all_tiles - t0);
    read_tiles(w, n0, count, t0 * kBytes, tiles, s.weight);
    for (std::int64_t r = 0; r < stride; r += 2 * kAmxRows) {
      const std::byte* x0 = x + (r / kAmxRows * all_tiles + t0) * kAmxBytes;
      const std::byte* x1 = x0 + all_tiles * kAmxBytes;
      for (std::int64_t n = 0; n < count; n += 2 * kAmxRows) {
        const std::byte* w0 = s.weight + n / kAmxRows * kBlockTiles * kAmxBytes;
        const std::byte* w1 = w0 + kBlockTiles * kAmxBytes;
        TORCHAO_CPP_TILE_BLOCK(TORCHAO_CPP_TILE_DOT_INT8, w0, w1, x0, x1, tiles,
                               s.sums + n * stride + r, stride, t0 == 0);
      }
    }
  }
  transpose_sums(reinterpret_cast<const float*>(s.sums), stride, m, count,
                 reinterpret_cast<float*>(sums));
}

constexpr Int8Product kInt8Product{kXOffset, kBlockRows,       AmxPackedX::packed_bytes, AmxPackedX::units,
                                   AmxPackedX::pack, scratch_bytes,            multiply, finish_sums};

}  // namespace

const Int8Product& int8_product_amx_functions() noexcept { return kInt8Product; }

}  // namespace torchao_cpp
