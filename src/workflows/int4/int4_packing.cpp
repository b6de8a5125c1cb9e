// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_packing.h"

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

}  // namespace torchao_cpp
