// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loops around the tiles of amx_tiles.h, for a panel of weight rows and all of x. Included
// after simd_avx512.h.
//
// K is cut into runs. A group of weight rows by a run of K stays in the first-level cache while all
// of x passes by it, a tile of 16 rows at a time; the next group is taken apart into tiles
// meanwhile, a row now and then between the tile products. A run of x and the sums of the panel are
// in the second-level cache.

#include <cstddef>

#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/row_helpers.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

/// Weight rows of a panel: with 512 rows of x, sums are 512 KiB. A core has 2 MiB for both its
/// threads.
constexpr std::int64_t kAmxPanelRows = 256;
/// Tiles of a run along K: 16 KiB of weight and 8 KiB of x, which passes. Ten are 10 % slower,
/// where another thread uses the cache too.
constexpr std::int64_t kAmxRunTiles = 8;
/// Tiles of weight rows in a group, by one of x. While the other thread of a core holds tiles, the
/// core has few registers to rename tiles with, and the more of the eight are in use, the longer
/// each load waits. ns a product of tiles with x from the second-level cache, alone (the peak
/// is 5.7) and beside such a thread: 2x1 6.6 and 13.2, 3x1 5.8 and 14.8, 2x2 6.2 and 17.9, 3x2 6.0
/// and 30.4.
constexpr std::int64_t kAmxGroupTiles = 2;
constexpr std::int64_t kAmxGroupRows = kAmxGroupTiles * kAmxRows;
/// Steps of tile products between rows that are taken apart.
constexpr std::int64_t kAmxFeedSteps = 2;
/// A group in tiles, and room for a scale of each row and tile of it.
constexpr std::int64_t kAmxTileBytes = kAmxGroupTiles * kAmxRunTiles * kAmxBytes;
constexpr std::int64_t kAmxGroupBytes = kAmxTileBytes + kAmxGroupRows * kAmxRunTiles * 4;

/// Tiles of so many rows.
constexpr std::int64_t amx_tiles(std::int64_t rows) { return (rows + kAmxRows - 1) / kAmxRows; }

/// Where tile t along K of tile r of x rows lies: [run][x tiles][tiles of the run].
constexpr std::int64_t amx_x_offset(std::int64_t m, std::int64_t all_tiles, std::int64_t r,
                                    std::int64_t t) {
  const std::int64_t first = t / kAmxRunTiles * kAmxRunTiles;
  const std::int64_t tiles = smaller(kAmxRunTiles, all_tiles - first);
  return (first * amx_tiles(m) + r * tiles + t - first) * kAmxBytes;
}

/// Scratch of amx_gemm(): two groups of weight tiles and the sums of all, [weight tile][x tile].
/// Weight rows that only fill a tile are whatever memory held: none of their sums is used.
constexpr std::int64_t amx_scratch_bytes(std::int64_t m) {
  return 2 * kAmxGroupBytes + kAmxPanelRows * amx_tiles(m) * kAmxRows * 4;
}

/// Rows of the weight that are taken apart while others are multiplied. Reader::begin(row, count,
/// t0, tiles, group) announces rows, a run of K and their place; Reader::read(i, out) takes apart
/// the i-th, whose tiles are at `out`.
template <typename Reader>
class AmxFeed {
 public:
  explicit AmxFeed(Reader& reader) : reader_(&reader) {}

  /// All `count` rows are read after so many calls of some().
  void begin(std::int64_t row, std::int64_t count, std::int64_t t0, std::int64_t tiles,
             std::int64_t calls, std::byte* group) {
    next_ = 0;
    count_ = count;
    per_call_ = (count + calls - 1) / calls;
    group_ = group;
    reader_->begin(row, count, t0, tiles, group);
  }
  TORCHAO_CPP_ALWAYS_INLINE void some() { read_to(smaller(count_, next_ + per_call_)); }
  TORCHAO_CPP_ALWAYS_INLINE void rest() { read_to(count_); }

 private:
  TORCHAO_CPP_ALWAYS_INLINE void read_to(std::int64_t end) {
    for (; next_ < end; ++next_) {
      const std::int64_t tile = next_ / kAmxRows * kAmxRunTiles * kAmxBytes;
      reader_->read(next_, group_ + tile + next_ % kAmxRows * kAmxRowBytes);
    }
  }

  Reader* reader_;
  std::byte* group_ = nullptr;
  std::int64_t next_ = 0, count_ = 0, per_call_ = 0;
};

/// Tiles of a group, of one tile of x rows, and of their sums, sum_stride bytes from one tile of
/// weight rows to the next.
struct AmxOperands {
  const std::byte* w;
  const std::byte* x;
  std::byte* sums;
  std::int64_t sum_stride;
};

/// Calls fn.template operator()<i>() for i = 0 .. kCount.
template <int kCount, int kFrom = 0, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_each_of(const F& fn) {
  if constexpr (kFrom < kCount) {
    fn.template operator()<kFrom>();
    for_each_of<kCount, kFrom + 1>(fn);
  }
}

/// Sums that are sums of Dot.
template <typename Dot>
struct AmxBlock {
  /// sums [kW] = or += kW tiles of weight rows times x, `tiles` along K.
  template <int kW, typename Reader>
  TORCHAO_CPP_ALWAYS_INLINE static void multiply(const AmxOperands& at, std::int64_t tiles,
                                                 bool is_first, AmxFeed<Reader>& feed) {
    if (is_first) {
      for_each_of<kW>([]<int kI>() __attribute__((always_inline)) { tile_zero<kI>(); });
    } else {
      for_each_of<kW>([&]<int kI>() __attribute__((always_inline)) {
        tile_load<kI>(at.sums + kI * at.sum_stride);
      });
    }
    for (std::int64_t t = 0; t < tiles; ++t) {
      tile_load<kW>(at.x + t * kAmxBytes);
      for_each_of<kW>([&]<int kI>() __attribute__((always_inline)) {
        tile_load<kW + 1>(at.w + (kI * kAmxRunTiles + t) * kAmxBytes);
        Dot::template add<kI, kW + 1, kW>();
      });
      if (t % kAmxFeedSteps == kAmxFeedSteps - 1) feed.some();
    }
    for_each_of<kW>([&]<int kI>() __attribute__((always_inline)) {
      tile_store<kI>(at.sums + kI * at.sum_stride);
    });
  }
};

/// Leaves the sums of `count` weight rows and m rows of x in the scratch. Block::multiply<kW>()
/// makes those of kW tiles of weight rows and one of x.
template <typename Block, typename Reader>
void amx_gemm(std::int64_t count, std::int64_t m, std::int64_t all_tiles, const std::byte* x,
              std::byte* scratch, Reader& reader) {
  const std::int64_t x_tiles = amx_tiles(m);
  AmxFeed<Reader> feed(reader);
  // The group from row n on, for the run from tile t0 on, into one of the two places.
  const auto feed_group = [&](std::int64_t t0, std::int64_t n, std::byte* group) {
    feed.begin(n, smaller(kAmxGroupRows, count - n), t0, smaller(kAmxRunTiles, all_tiles - t0),
               x_tiles * (kAmxRunTiles / kAmxFeedSteps), group);
  };
  const TileScope scope;
  feed_group(0, 0, scratch);
  feed.rest();
  std::int64_t place = 0;
  for (std::int64_t t0 = 0; t0 < all_tiles; t0 += kAmxRunTiles) {
    const std::int64_t tiles = smaller(kAmxRunTiles, all_tiles - t0);
    for (std::int64_t n = 0; n < count; n += kAmxGroupRows) {
      AmxOperands at;
      at.w = scratch + place * kAmxGroupBytes;
      at.x = x + t0 * x_tiles * kAmxBytes;
      at.sums = scratch + 2 * kAmxGroupBytes + n / kAmxRows * x_tiles * kAmxBytes;
      at.sum_stride = x_tiles * kAmxBytes;
      place = 1 - place;
      std::byte* const next = scratch + place * kAmxGroupBytes;
      if (n + kAmxGroupRows < count) {
        feed_group(t0, n + kAmxGroupRows, next);
      } else if (t0 + kAmxRunTiles < all_tiles) {
        feed_group(t0 + kAmxRunTiles, 0, next);
      }
      const bool is_half = count - n <= kAmxRows;
      for (std::int64_t r = 0; r < x_tiles; ++r) {
        if (is_half) {
          Block::template multiply<1>(at, tiles, t0 == 0, feed);
        } else {
          Block::template multiply<kAmxGroupTiles>(at, tiles, t0 == 0, feed);
        }
        at.x += tiles * kAmxBytes;
        at.sums += kAmxBytes;
      }
      feed.rest();
    }
  }
}

/// out [rows][count] of x rows m0 .. m0 + rows, from what amx_gemm() left in its scratch; m0 is a
/// multiple of 16.
void amx_take_sums(const std::byte* scratch, std::int64_t m, std::int64_t count, std::int64_t m0,
                   std::int64_t rows, float* out) {
  const auto* sums = reinterpret_cast<const float*>(scratch + 2 * kAmxGroupBytes);
  constexpr std::int64_t kTile = kAmxRows * kAmxRows;
  transpose_sums({sums + m0 / kAmxRows * kTile, amx_tiles(m) * kTile, kTile, kAmxRows}, rows, count,
                 out);
}

}  // namespace
}  // namespace torchao_cpp
