// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles, as int8_product_amx.cpp has them: the sums
// of each group leave the tiles to be scaled.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_intx_product.h"

namespace torchao_cpp {
namespace {

static_assert(kAmxRunTiles == kRound);

std::int64_t intx_scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : amx_scratch_bytes(m);
}

/// A group within a tile is not worth one: half of it would be zeros.
bool takes_whole_tiles(std::int64_t group_columns) noexcept { return group_columns % kBytes == 0; }

/// Rows of a panel for amx_gemm(), and their scales for each tile along K. With a scale for each row, zero
/// in x is what ends the last tile.
template <int kBits>
class IntxTileReader {
 public:
  IntxTileReader(const IntxRows& w, std::int64_t n0) : w_(w), panel_(n0) {}

  void begin(std::int64_t row, std::int64_t, std::int64_t t0, std::int64_t tiles,
             std::byte* group) {
    row_ = panel_ + row;
    t0_ = t0;
    tiles_ = tiles;
    scales_ = reinterpret_cast<float*>(group + kAmxTileBytes);
  }
  [[gnu::noinline]] void read(std::int64_t i, std::byte* out) const {
    const std::int64_t end = smaller(w_.columns, (t0_ + tiles_) * kBytes);
    read_intx<kBits>(w_, row_ + i, t0_ * kBytes, end, [&](std::int64_t vector, Bytes codes) {
      SimdBytes::store(out + (vector - t0_) * kAmxBytes, codes);
    });
    float* scales = scales_ + i / kAmxRows * kAmxRunTiles * kAmxRows + i % kAmxRows;
    for (std::int64_t t = 0; t < tiles_; ++t) {
      const std::int64_t group = w_.groups == 1 ? 0 : (t0_ + t) * kBytes / w_.group_columns;
      scales[t * kAmxRows] = scale_at(w_, (row_ + i) * w_.groups + group);
    }
  }

 private:
  const IntxRows& w_;
  std::int64_t panel_;
  std::int64_t row_ = 0, t0_ = 0, tiles_ = 0;
  float* scales_ = nullptr;
};

/// Tiles along K between which sums are scaled: those of a group that divide a run.
std::int64_t scaled_tiles(const IntxRows& w) {
  const std::int64_t tiles = w.groups == 1 ? kAmxRunTiles : w.group_columns / kBytes;
  for (std::int64_t t = kAmxRunTiles; t > 1; t /= 2)
    if (tiles % t == 0) return t;
  return 1;
}

/// As AmxBlock, with sums that are scaled floats. One tile of sums at a time: its 16 vectors of floats
/// stay in registers from group to group, while the sums of the next group are made.
template <int kGroup>
struct IntxBlock {
  using Sums = Floats[kAmxRows];

  template <int kW, int kX, typename Reader>
  TORCHAO_CPP_ALWAYS_INLINE static void multiply(const AmxOperands& at, std::int64_t tiles,
                                                 bool is_first, AmxFeed<Reader>& feed) {
    const auto* scales = reinterpret_cast<const float*>(at.w + kAmxTileBytes);
    for (int i = 0; i < kW; ++i) {
      for (int j = 0; j < kX; ++j) {
        tile(at.w + i * kAmxRunTiles * kAmxBytes, scales + i * kAmxRunTiles * kAmxRows,
             at.x + j * at.x_stride, tiles, is_first,
             reinterpret_cast<float*>(at.sums + i * at.sum_stride + j * kAmxBytes));
        feed.some();
      }
    }
  }

 private:
  TORCHAO_CPP_ALWAYS_INLINE static void add_scaled(const std::byte* group, const float* scales,
                                                   Sums& sums) {
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kAmxRows; ++r)
      sums[r] = Simd::fma(SimdBytes::to_floats(SimdBytes::load(group + r * kAmxRowBytes)),
                          Simd::set1(scales[r]), sums[r]);
  }
  // The sums of kGroup tiles along K, fewer at the end of a row.
  template <int kTile>
  TORCHAO_CPP_ALWAYS_INLINE static void sum_group(const std::byte* w, const std::byte* x,
                                                  std::int64_t tiles, std::byte* out) {
    tile_zero<kTile>();
    TORCHAO_CPP_UNROLL
    for (int t = 0; t < kGroup; ++t) {
      if (t >= tiles) break;
      tile_load<7>(w + t * kAmxBytes);
      tile_load<6>(x + t * kAmxBytes);
      Int8TileDot::template add<kTile, 7, 6>();
    }
    tile_store<kTile>(out);
  }
  [[gnu::noinline]] static void tile(const std::byte* w, const float* scales, const std::byte* x,
                                     std::int64_t tiles, bool is_first, float* out) {
    alignas(64) std::byte group[2][kAmxBytes];
    Sums sums;
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kAmxRows; ++r)
      sums[r] = is_first ? Simd::zero() : Simd::load(out + r * kAmxRows);
    sum_group<0>(w, x, tiles, group[0]);
    std::int64_t t = 0;
    for (; t + 2 * kGroup < tiles + kGroup; t += kGroup) {
      const std::int64_t next = t + kGroup;
      sum_group<1>(w + next * kAmxBytes, x + next * kAmxBytes, tiles - next, group[next / kGroup % 2]);
      add_scaled(group[t / kGroup % 2], scales + t * kAmxRows, sums);
    }
    add_scaled(group[t / kGroup % 2], scales + t * kAmxRows, sums);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kAmxRows; ++r) Simd::store(out + r * kAmxRows, sums[r]);
  }
};

template <int kGroup>
void intx_gemm(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
               std::int64_t m, std::byte* scratch) {
  with_bits(w.bits, [&]<int kBits>() {
    IntxTileReader<kBits> reader(w, n0);
    amx_gemm<IntxBlock<kGroup>>(count, m, AmxPackedX::tiles(w.columns), x, scratch, reader);
  });
}

void intx_multiply(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                   std::int64_t m, std::byte* scratch, float* out) noexcept {
  if (m <= kDotRows) return intx_dot(w, n0, count, x, m, out);
  switch (scaled_tiles(w)) {
    case 1:
      intx_gemm<1>(w, n0, count, x, m, scratch);
      break;
    case 2:
      intx_gemm<2>(w, n0, count, x, m, scratch);
      break;
    case 4:
      intx_gemm<4>(w, n0, count, x, m, scratch);
      break;
    default:
      intx_gemm<kAmxRunTiles>(w, n0, count, x, m, scratch);
  }
  amx_transpose_sums(scratch, m, count, out);
}

constexpr IntxProduct kIntxProduct{kXOffset,
                                   kBytes,
                                   kAmxPanelRows,
                                   takes_whole_tiles,
                                   AmxPackedX::packed_bytes,
                                   AmxPackedX::units,
                                   AmxPackedX::pack,
                                   intx_scratch_bytes,
                                   intx_multiply,
                                   finish_sums,
                                   kAmxRows};

}  // namespace

const IntxProduct& intx_product_amx_functions() noexcept { return kIntxProduct; }

}  // namespace torchao_cpp
