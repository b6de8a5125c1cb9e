// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 VNNI takes them; many in tiles, as int8_product_amx.cpp has them: the
// sums of each group leave the tiles to be scaled.
#include "kernels/simd/bytes_avx512_vnni.h"

#include "kernels/float_product/simd_products.h"
#include "kernels/int8_product/amx_packed_x.h"
#include "kernels/int8_product/simd_intx_product.h"

namespace torchao_cpp {
namespace {

static_assert(kAmxRunTiles == kRound);

std::int64_t intx_scratch_bytes(std::int64_t m, std::int64_t) noexcept {
  return m <= kDotRows ? 0 : amx_scratch_bytes(m);
}

/// As AVX-512 VNNI takes them.
bool takes_groups(std::int64_t group_columns) noexcept {
  return group_columns % kBytes == 0 || group_columns == kBytes / 2;
}

/// A group within a tile is not worth one: half of it would be zeros.
std::int64_t most_rows(std::int64_t group_columns) noexcept {
  return group_columns % kBytes == 0 ? INT64_MAX : kDotRows;
}

/// Rows of a panel for amx_gemm(), and their scales for each tile along K. Of a last tile that
/// codes only begin, x has zeros where they end.
template <int kBits>
class IntxTileReader {
 public:
  /// The rows of the panel are n0 .. n0 + count.
  IntxTileReader(const IntxRows& w, std::int64_t n0, std::int64_t count)
      : w_(w),
        panel_(n0),
        panel_rows_(count),
        group_tiles_(w.groups == 1 ? AmxPackedX::tiles(w.columns) : w.group_columns / kBytes) {}

  void begin(std::int64_t row, std::int64_t, std::int64_t t0, std::int64_t tiles,
             std::byte* group) {
    row_ = panel_ + row;
    t0_ = t0;
    tiles_ = tiles;
    first_group_ = t0 / group_tiles_;
    first_left_ = group_tiles_ - t0 % group_tiles_;
    scales_ = reinterpret_cast<float*>(group + kAmxTileBytes);
  }
  [[gnu::noinline]] void read(std::int64_t i, std::byte* out) const {
    IntxReader<kBits> reader(w_, row_ + i, kAhead);
    const GroupVectors<false> groups(w_, row_ + i);
    float* scales = scales_ + i / kAmxRows * kAmxRunTiles * kAmxRows + i % kAmxRows;
    std::int64_t group = first_group_, left = first_left_;
    Bytes base = groups.base(group);
    float scale = scale_at(w_, groups.first + group);
    for_vectors(
        tiles_, [&]<int kJ>() __attribute__((always_inline)) {
          if (left == 0) {
            ++group;
            left = group_tiles_;
            base = groups.base(group);
            scale = scale_at(w_, groups.first + group);
          }
          --left;
          SimdBytes::store(out + kJ * kAmxBytes,
                           SimdBytes::subtract(reader.template codes<kJ>(t0_ / kRound), base));
          scales[kJ * kAmxRows] = scale;
        });
    if (t0_ + tiles_ == AmxPackedX::tiles(w_.columns)) prefetch_next_panel(i);
  }

 private:
  // Bytes that are asked for ahead within a row; those of the next panel begin with them.
  static constexpr std::int64_t kAhead = 1024;

  void prefetch_next_panel(std::int64_t i) const {
    const std::byte* row = w_.codes + (row_ + i + panel_rows_) * w_.row_bytes;
    for (std::int64_t at = 0; at < smaller(kAhead, w_.row_bytes); at += kBytes)
      prefetch_far(row + at);
  }

  const IntxRows& w_;
  std::int64_t panel_, panel_rows_;
  std::int64_t group_tiles_;  ///< Of a group of columns.
  std::int64_t row_ = 0, t0_ = 0, tiles_ = 0;
  std::int64_t first_group_ = 0,
               first_left_ = 0;  ///< Of the run, and tiles of that group in it and behind.
  float* scales_ = nullptr;
};

/// Tiles along K between which sums are scaled: those of a group that divide a run.
std::int64_t scaled_tiles(const IntxRows& w) {
  const std::int64_t tiles = w.groups == 1 ? kAmxRunTiles : w.group_columns / kBytes;
  for (std::int64_t t = kAmxRunTiles; t > 1; t /= 2)
    if (tiles % t == 0) return t;
  return 1;
}

/// As AmxBlock, with sums that are scaled floats. One tile of sums at a time: its 16 vectors of
/// floats stay in registers from group to group, while the sums of the next group are made.
template <int kGroup>
struct IntxBlock {
  using Sums = Floats[kAmxRows];

  template <int kW, typename Reader>
  TORCHAO_CPP_ALWAYS_INLINE static void multiply(const AmxOperands& at, std::int64_t tiles,
                                                 bool is_first, AmxFeed<Reader>& feed) {
    const auto* scales = reinterpret_cast<const float*>(at.w + kAmxTileBytes);
    for (int i = 0; i < kW; ++i) {
      multiply_tile(at.w + i * kAmxRunTiles * kAmxBytes, scales + i * kAmxRunTiles * kAmxRows, at.x,
                    tiles, is_first, reinterpret_cast<float*>(at.sums + i * at.sum_stride));
      // As often as AmxBlock.
      for (std::int64_t t = kAmxFeedSteps; t <= kAmxRunTiles / kW; t += kAmxFeedSteps) feed.some();
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
  [[gnu::noinline]] static void multiply_tile(const std::byte* w, const float* scales,
                                              const std::byte* x, std::int64_t tiles, bool is_first,
                                              float* out) {
    alignas(64) std::byte group[2][kAmxBytes];
    Sums sums;
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kAmxRows; ++r)
      sums[r] = is_first ? Simd::zero() : Simd::load(out + r * kAmxRows);
    sum_group<0>(w, x, tiles, group[0]);
    std::int64_t t = 0;
    for (; t + kGroup < tiles; t += kGroup) {
      const std::int64_t next = t + kGroup;
      sum_group<1>(w + next * kAmxBytes, x + next * kAmxBytes, tiles - next,
                   group[next / kGroup % 2]);
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
    IntxTileReader<kBits> reader(w, n0, count);
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
  amx_take_sums(scratch, m, count, 0, m, out);
}

constexpr IntxProduct kIntxProduct{kXOffset,
                                   kBytes,
                                   kAmxPanelRows,
                                   takes_groups,
                                   AmxPackedX::packed_bytes,
                                   AmxPackedX::units,
                                   AmxPackedX::pack,
                                   intx_scratch_bytes,
                                   intx_multiply,
                                   finish_sums,
                                   SimdBytes::kMaxCodeBits,
                                   most_rows,
                                   float_product_amx_functions,
                                   kAmxRows};

}  // namespace

const IntxProduct& intx_product_amx_functions() noexcept { return kIntxProduct; }

}  // namespace torchao_cpp
