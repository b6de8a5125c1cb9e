// SPDX-License-Identifier: Apache-2.0
#pragma once

// The loops around the tiles of amx_tiles.h, for a panel of weight rows and all of x. Included after
// simd_avx512.h.
//
// K is cut into runs. A group of 48 (or 32) weight rows by a run of K stays in the first-level cache
// while all of x passes by it, a few tiles of rows at a time; the next group is taken apart into
// tiles meanwhile, a few rows between the tile products, which run beside vector instructions. A run
// of x, the sums of the panel and the groups are in the second-level cache.

#include <cstddef>

#include "kernels/simd/amx_tiles.h"
#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

/// Weight rows of a panel: x comes from behind the second-level cache once for each.
constexpr std::int64_t kAmxPanelRows = 384;
/// Tiles of a run along K: 24 KiB of weight and 16 KiB of x, which passes, in the first-level cache.
constexpr std::int64_t kAmxRunTiles = 8;
/// Tiles of weight rows in a group and tiles of x multiplied with them at a time, at most. While the other
/// thread of a core holds tiles, the core has few registers to rename tiles with, and the more of the
/// eight are in use, the longer each load waits. Of what keeps a core alone at its peak with x from the
/// second-level cache, this uses fewest. ns a product of tiles, alone and beside another thread:
/// 2x1 6.6 and 13.2, 3x1 5.8 and 14.8, 2x2 6.2 and 17.9, 3x2 6.0 and 30.4.
constexpr std::int64_t kAmxGroupTiles = 3;
constexpr std::int64_t kAmxXTiles = 1;
/// Steps of tile products between rows that are taken apart: what runs beside them is what fits
/// into the queues of one core.
constexpr std::int64_t kAmxFeedSteps = 2;
/// A group in tiles, and room for a scale of each row and tile of it.
constexpr std::int64_t kAmxTileBytes = kAmxGroupTiles * kAmxRunTiles * kAmxBytes;
constexpr std::int64_t kAmxGroupBytes =
    kAmxTileBytes + kAmxGroupTiles * kAmxRunTiles * kAmxRows * 4;

/// Row i of a group, in the first of its tiles.
TORCHAO_CPP_ALWAYS_INLINE std::byte* amx_weight_row(std::byte* group, std::int64_t i) {
  return group + i / kAmxRows * kAmxRunTiles * kAmxBytes + i % kAmxRows * kAmxRowBytes;
}

/// Tiles of 16 rows.
constexpr std::int64_t amx_tiles(std::int64_t rows) { return (rows + kAmxRows - 1) / kAmxRows; }

/// Where tile t along K of tile r of x rows lies: [run][x tiles][tiles of the run].
constexpr std::int64_t amx_x_offset(std::int64_t m, std::int64_t all_tiles, std::int64_t r,
                                    std::int64_t t) {
  const std::int64_t first = t / kAmxRunTiles * kAmxRunTiles;
  const std::int64_t tiles = smaller(kAmxRunTiles, all_tiles - first);
  return (first * amx_tiles(m) + r * tiles + t - first) * kAmxBytes;
}

/// Scratch of amx_gemm(): two groups of weight tiles and the sums of all, [weight tile][x tile]. Weight
/// rows that only fill a tile are whatever memory held: none of their sums is used.
constexpr std::int64_t amx_scratch_bytes(std::int64_t m) {
  return 2 * kAmxGroupBytes + kAmxPanelRows * amx_tiles(m) * kAmxRows * 4;
}

/// Rows of the weight that are taken apart while others are multiplied. Reader::begin(row, count,
/// t0, tiles, group) announces rows, a run of K and their place; Reader::read(i, out) takes apart the
/// i-th, whose tiles are at `out`.
template <typename Reader>
class AmxFeed {
 public:
  explicit AmxFeed(Reader& reader) : reader_(&reader) {}

  void begin(std::int64_t row, std::int64_t count, std::int64_t t0, std::int64_t tiles,
             std::int64_t calls, std::byte* out) {
    next_ = 0;
    count_ = count;
    per_call_ = (count + calls - 1) / calls;
    out_ = out;
    if (count > 0) reader_->begin(row, count, t0, tiles, out);
  }
  TORCHAO_CPP_ALWAYS_INLINE void some() {
    for (std::int64_t end = smaller(count_, next_ + per_call_); next_ < end; ++next_)
      reader_->read(next_, amx_weight_row(out_, next_));
  }
  void rest() {
    for (; next_ < count_; ++next_) reader_->read(next_, amx_weight_row(out_, next_));
  }

 private:
  Reader* reader_;
  std::byte* out_ = nullptr;
  std::int64_t next_ = 0, count_ = 0, per_call_ = 0;
};

/// Calls fn.template operator()<i>() for i = 0 .. kCount.
template <int kCount, int kFrom = 0, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_each_of(const F& fn) {
  if constexpr (kFrom < kCount) {
    fn.template operator()<kFrom>();
    for_each_of<kCount, kFrom + 1>(fn);
  }
}

/// Tiles of weight rows along K, of x, and of their sums; from one tile of rows to the next.
struct AmxOperands {
  const std::byte* w;
  const std::byte* x;
  std::byte* sums;
  std::int64_t x_stride, sum_stride;  ///< Of sums: from one tile of weight rows to the next.
};

/// sums [kW][kX] = or += kW tiles of weight rows times kX of x, `tiles` along K.
template <typename Dot>
struct AmxBlock {
  template <int kW, int kX, typename Reader>
  TORCHAO_CPP_ALWAYS_INLINE static void multiply(const AmxOperands& at, std::int64_t tiles,
                                                 bool is_first, AmxFeed<Reader>& feed) {
    const auto each_sum = [&](const auto& fn) __attribute__((always_inline)) {
      for_each_of<kW * kX>([&]<int kTile>() __attribute__((always_inline)) {
        fn.template operator()<kTile>(at.sums + kTile / kX * at.sum_stride +
                                      kTile % kX * kAmxBytes);
      });
    };
    if (is_first) {
      for_each_of<kW * kX>([]<int kTile>() __attribute__((always_inline)) { tile_zero<kTile>(); });
    } else {
      each_sum([]<int kTile>(std::byte* p) __attribute__((always_inline)) { tile_load<kTile>(p); });
    }
    for (std::int64_t t = 0; t < tiles; ++t) {
      step<kW, kX>(at.w + t * kAmxBytes, at.x + t * kAmxBytes, at.x_stride);
      if (t % kAmxFeedSteps == kAmxFeedSteps - 1) feed.some();
    }
    each_sum([]<int kTile>(std::byte* p) __attribute__((always_inline)) { tile_store<kTile>(p); });
  }

 private:
  // One tile along K. Two registers take all operands, back and forth along x.
  template <int kW, int kX>
  TORCHAO_CPP_ALWAYS_INLINE static void step(const std::byte* w, const std::byte* x,
                                             std::int64_t x_stride) {
    constexpr int kWTile = kW * kX, kXTile = kW * kX + 1;
    for_each_of<kW>([&]<int kI>() __attribute__((always_inline)) {
      tile_load<kWTile>(w + kI * kAmxRunTiles * kAmxBytes);
      for_each_of<kX>([&]<int kJ>() __attribute__((always_inline)) {
        constexpr int kAt = kI % 2 == 0 ? kJ : kX - 1 - kJ;
        if constexpr (kI == 0 || kJ > 0) tile_load<kXTile>(x + kAt * x_stride);
        Dot::template add<kI * kX + kAt, kWTile, kXTile>();
      });
    });
  }
};

/// Calls fn.template operator()<n>() for n = count, 1 .. kMost.
template <int kMost, typename F>
TORCHAO_CPP_ALWAYS_INLINE void with_count(std::int64_t count, const F& fn) {
  if constexpr (kMost > 1) {
    if (count < kMost) return with_count<kMost - 1>(count, fn);
  }
  fn.template operator()<kMost>();
}

/// Leaves the sums of `count` weight rows and m rows of x in the scratch. Block::multiply<kW, kX>() makes
/// those of kW tiles of weight rows and kX of x.
template <typename Block, typename Reader>
void amx_gemm(std::int64_t count, std::int64_t m, std::int64_t all_tiles, const std::byte* x,
              std::byte* scratch, Reader& reader) {
  const std::int64_t w_tiles = amx_tiles(count), x_tiles = amx_tiles(m);
  const std::int64_t blocks = (x_tiles + kAmxXTiles - 1) / kAmxXTiles;
  AmxFeed<Reader> feed(reader);
  // The group from weight tile n on, for the run from tile t0 on, into one of the two places.
  const auto feed_group = [&](std::int64_t t0, std::int64_t n, std::byte* out) {
    const std::int64_t row = n * kAmxRows;
    const std::int64_t rows = smaller(kAmxGroupTiles * kAmxRows, count - row);
    const std::int64_t tiles = smaller(kAmxRunTiles, all_tiles - t0);
    feed.begin(row, rows, t0, tiles, blocks * (kAmxRunTiles / kAmxFeedSteps), out);
  };
  const TileScope scope;
  feed_group(0, 0, scratch);
  feed.rest();
  std::int64_t place = 0;
  for (std::int64_t t0 = 0; t0 < all_tiles; t0 += kAmxRunTiles) {
    const std::int64_t tiles = smaller(kAmxRunTiles, all_tiles - t0);
    for (std::int64_t n = 0; n < w_tiles; n += kAmxGroupTiles) {
      AmxOperands at;
      at.w = scratch + place * kAmxGroupBytes;
      at.x = x + t0 * x_tiles * kAmxBytes;
      at.sums = scratch + 2 * kAmxGroupBytes + n * x_tiles * kAmxBytes;
      at.x_stride = tiles * kAmxBytes;
      at.sum_stride = x_tiles * kAmxBytes;
      place = 1 - place;
      std::byte* const next = scratch + place * kAmxGroupBytes;
      if (n + kAmxGroupTiles < w_tiles) {
        feed_group(t0, n + kAmxGroupTiles, next);
      } else if (t0 + kAmxRunTiles < all_tiles) {
        feed_group(t0 + kAmxRunTiles, 0, next);
      }
      with_count<kAmxGroupTiles>(w_tiles - n, [&]<int kW>() __attribute__((always_inline)) {
        for (std::int64_t r = 0; r < x_tiles; r += kAmxXTiles) {
          with_count<kAmxXTiles>(x_tiles - r, [&]<int kX>() __attribute__((always_inline)) {
            Block::template multiply<kW, kX>(at, tiles, t0 == 0, feed);
          });
          at.x += kAmxXTiles * at.x_stride;
          at.sums += kAmxXTiles * kAmxBytes;
        }
      });
      feed.rest();
    }
  }
}

/// What amx_gemm() left in its scratch -> [m][count].
[[gnu::noinline]] void amx_transpose_sums(const std::byte* scratch, std::int64_t m,
                                          std::int64_t count, float* out) {
  const auto* sums = reinterpret_cast<const float*>(scratch + 2 * kAmxGroupBytes);
  for (std::int64_t r = 0; r < m; r += kAmxRows) {
    const std::int64_t rows = smaller(kAmxRows, m - r);
    for (std::int64_t n = 0; n < count; n += kAmxRows) {
      const std::int64_t columns = smaller(kAmxRows, count - n);
      const float* tile = sums + n * amx_tiles(m) * kAmxRows + r * kAmxRows;
      Simd::Floats v[kAmxRows];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kAmxRows; ++i) v[i] = Simd::load(tile + i * kAmxRows);
      Simd::transpose(v);
      float* to = out + r * count + n;
      if (columns == kAmxRows) {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kAmxRows; ++i)
          if (i < rows) Simd::store(to + i * count, v[i]);
      } else {
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kAmxRows; ++i)
          if (i < rows) Simd::store_first(to + i * count, v[i], columns);
      }
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
