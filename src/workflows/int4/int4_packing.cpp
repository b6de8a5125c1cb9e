// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_packing.h"

#include <array>

#include "base/parallel.h"
#include "base/vector_clones.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kTileRows = 8;
constexpr std::int64_t kTileColumns = 128;
constexpr std::int64_t kTileWords = 32 * 4;

struct TilePosition {
  std::int64_t word;  // inside the tile
  int shift;          // of the nibble, in bits
};

TilePosition tile_position(std::int64_t row, std::int64_t column) noexcept {
  const std::int64_t j = column / 32;
  const std::int64_t r = column % 32;
  const std::int64_t lane = row * 4 + r % 8 / 2;
  return {lane * 4 + j, static_cast<int>(4 * (r / 8 + 4 * (r % 2)))};
}

// Where tile `t` begins in the shuffled bytes, and its first byte in the plain ones.
struct ShuffleTile {
  std::int64_t shuffled;
  std::int64_t plain;
};

// Calls fn(tile, bytes of a plain row) for every tile, tiles of the same columns in one thread.
template <typename F>
void for_shuffle_tiles(const Shape& shape, Int4Shuffle order, const F& fn) {
  const std::int64_t half = shape[1];
  const std::int64_t row_tiles = shape[0] / kShuffleRows;
  const std::int64_t tile_row_bytes = shuffle_columns(order) / 2;
  const std::int64_t tile_bytes = kShuffleRows * tile_row_bytes;
  const std::int64_t columns_grain = 65536 / (row_tiles * tile_bytes * 2) + 1;
  parallel_for(half / tile_row_bytes, columns_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin * row_tiles; t < end * row_tiles; ++t) {
      fn(ShuffleTile{t * tile_bytes,
                     t % row_tiles * kShuffleRows * half + t / row_tiles * tile_row_bytes},
         half);
    }
  });
}

// Plain code to table index, and back: one table for both nibbles of a byte.
constexpr std::uint8_t negated_positive(unsigned nibble) noexcept {
  return static_cast<std::uint8_t>(nibble >= 1 && nibble <= 7 ? 8 - nibble : nibble);
}
constexpr std::array<std::uint8_t, 256> make_float8_nibbles() noexcept {
  std::array<std::uint8_t, 256> table{};
  for (unsigned b = 0; b < 256; ++b)
    table[b] = static_cast<std::uint8_t>(negated_positive(b & 15) | negated_positive(b >> 4) << 4);
  return table;
}
constexpr std::array<std::uint8_t, 256> kFloat8Nibbles = make_float8_nibbles();

// A shuffled byte holds the same column of rows r and r + 8; `byte` is r % 8 * 16 + j % 8 * 2 + j
// / 8.
void shuffle_bfloat16_tile(const std::uint8_t* plain, std::int64_t half,
                           std::uint8_t* shuffled) noexcept {
  for (std::int64_t byte = 0; byte < 128; ++byte) {
    const std::int64_t column = byte % 2 * 8 + byte / 2 % 8;
    const std::uint8_t* const row = plain + byte / 16 * half + column / 2;
    const int shift = column % 2 * 4;
    shuffled[byte] =
        static_cast<std::uint8_t>((row[0] >> shift & 15) | (row[8 * half] >> shift & 15) << 4);
  }
}

void unshuffle_bfloat16_tile(const std::uint8_t* shuffled, std::int64_t half,
                             std::uint8_t* plain) noexcept {
  for (std::int64_t row = 0; row < 8; ++row) {
    for (std::int64_t j = 0; j < 8; ++j) {
      // Columns 2j and 2j + 1.
      const std::uint8_t* const pair = shuffled + row * 16 + j % 4 * 4 + j / 4;
      plain[row * half + j] = static_cast<std::uint8_t>((pair[0] & 15) | (pair[2] & 15) << 4);
      plain[(row + 8) * half + j] = static_cast<std::uint8_t>(pair[0] >> 4 | (pair[2] & 0xf0));
    }
  }
}

// Four columns, two bytes, stay together: unit u of row r is at unit r % 8 * 16 + u % 4 * 4 + u / 4
// * 2 + r / 8. fn(shuffled byte, plain byte).
template <typename F>
void for_float8_units(std::int64_t half, const F& fn) noexcept {
  for (std::int64_t row = 0; row < kShuffleRows; ++row) {
    for (std::int64_t u = 0; u < 8; ++u) {
      const std::int64_t unit = row % 8 * 16 + u % 4 * 4 + u / 4 * 2 + row / 8;
      fn(2 * unit, row * half + 2 * u);
      fn(2 * unit + 1, row * half + 2 * u + 1);
    }
  }
}

std::int64_t grain(std::int64_t row_elements) noexcept {
  return row_elements > 65536 ? 1 : 65536 / row_elements;
}

}  // namespace

TORCHAO_CPP_VECTOR_CLONES void pack_nibble_run(const std::int8_t* codes, std::int64_t bytes,
                                               std::int8_t* packed) noexcept {
  for (std::int64_t i = 0; i < bytes; ++i) {
    const auto low = static_cast<std::uint8_t>(codes[2 * i] & 15);
    const auto high = static_cast<std::uint8_t>(static_cast<std::uint8_t>(codes[2 * i + 1]) << 4);
    packed[i] = static_cast<std::int8_t>(low | high);
  }
}

Tensor pack_nibbles(const Tensor& codes) {
  const std::int64_t n = codes.shape()[0];
  const std::int64_t half = codes.shape()[1] / 2;
  Tensor packed = Tensor::empty(DType::kInt8, {n, half});
  const auto* in = codes.data<std::int8_t>();
  auto* out = packed.mutable_data<std::int8_t>();
  parallel_for(n, grain(2 * half), [=](std::int64_t begin, std::int64_t end) {
    pack_nibble_run(in + 2 * begin * half, (end - begin) * half, out + begin * half);
  });
  return packed;
}

Tensor unpack_nibbles(const Tensor& packed) {
  const std::int64_t n = packed.shape()[0];
  const std::int64_t half = packed.shape()[1];
  Tensor codes = Tensor::empty(DType::kInt8, {n, 2 * half});
  const auto* in = packed.data<std::uint8_t>();
  auto* out = codes.mutable_data<std::int8_t>();
  parallel_for(n, grain(2 * half), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * half; i < end * half; ++i) {
      out[2 * i] = static_cast<std::int8_t>(((in[i] & 15) ^ 8) - 8);
      out[2 * i + 1] = static_cast<std::int8_t>(((in[i] >> 4) ^ 8) - 8);
    }
  });
  return codes;
}

Tensor pack_tiles(const Tensor& codes) {
  const std::int64_t row_tiles = codes.shape()[0] / kTileRows;
  const std::int64_t k = codes.shape()[1];
  const std::int64_t column_tiles = k / kTileColumns;
  Tensor tiles = Tensor::zeros(DType::kInt32, {row_tiles, column_tiles, 32, 4});
  const auto* in = codes.data<std::uint8_t>();
  auto* out = tiles.mutable_data<std::uint32_t>();
  parallel_for(row_tiles, grain(kTileRows * k), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin * kTileRows; n < end * kTileRows; ++n) {
      for (std::int64_t c = 0; c < k; ++c) {
        const TilePosition p = tile_position(n % kTileRows, c % kTileColumns);
        const std::int64_t tile = n / kTileRows * column_tiles + c / kTileColumns;
        out[tile * kTileWords + p.word] |= static_cast<std::uint32_t>(in[n * k + c] & 15)
                                           << p.shift;
      }
    }
  });
  return tiles;
}

Tensor unpack_tiles(const Tensor& tiles) {
  const std::int64_t row_tiles = tiles.shape()[0];
  const std::int64_t column_tiles = tiles.shape()[1];
  const std::int64_t k = column_tiles * kTileColumns;
  Tensor codes = Tensor::empty(DType::kInt8, {row_tiles * kTileRows, k});
  const auto* in = tiles.data<std::uint32_t>();
  auto* out = codes.mutable_data<std::uint8_t>();
  parallel_for(row_tiles, grain(kTileRows * k), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin * kTileRows; n < end * kTileRows; ++n) {
      for (std::int64_t c = 0; c < k; ++c) {
        const TilePosition p = tile_position(n % kTileRows, c % kTileColumns);
        const std::int64_t tile = n / kTileRows * column_tiles + c / kTileColumns;
        out[n * k + c] =
            static_cast<std::uint8_t>((in[tile * kTileWords + p.word] >> p.shift) & 15u);
      }
    }
  });
  return codes;
}

Tensor shuffle_nibbles(const Tensor& packed, Int4Shuffle order) {
  Tensor out = Tensor::empty(DType::kInt8, packed.shape());
  const auto* plain = packed.data<std::uint8_t>();
  auto* shuffled = out.mutable_data<std::uint8_t>();
  for_shuffle_tiles(packed.shape(), order, [=](ShuffleTile tile, std::int64_t half) {
    const std::uint8_t* const from = plain + tile.plain;
    std::uint8_t* const to = shuffled + tile.shuffled;
    if (order == Int4Shuffle::kBFloat16) return shuffle_bfloat16_tile(from, half, to);
    for_float8_units(
        half, [=](std::int64_t s, std::int64_t p) noexcept { to[s] = kFloat8Nibbles[from[p]]; });
  });
  return out;
}

Tensor unshuffle_nibbles(const Tensor& shuffled, Int4Shuffle order) {
  Tensor out = Tensor::empty(DType::kInt8, shuffled.shape());
  const auto* in = shuffled.data<std::uint8_t>();
  auto* plain = out.mutable_data<std::uint8_t>();
  for_shuffle_tiles(shuffled.shape(), order, [=](ShuffleTile tile, std::int64_t half) {
    const std::uint8_t* const from = in + tile.shuffled;
    std::uint8_t* const to = plain + tile.plain;
    if (order == Int4Shuffle::kBFloat16) return unshuffle_bfloat16_tile(from, half, to);
    for_float8_units(
        half, [=](std::int64_t s, std::int64_t p) noexcept { to[p] = kFloat8Nibbles[from[s]]; });
  });
  return out;
}

}  // namespace torchao_cpp
