// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_packing.h"

#include <gtest/gtest.h>

#include <vector>

namespace torchao_cpp {
namespace {

Tensor codes_of(std::int64_t n, std::int64_t k, int lowest) {
  Tensor t = Tensor::empty(DType::kInt8, {n, k});
  auto v = t.mutable_span<std::int8_t>();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<std::int8_t>(static_cast<int>((i * 7 + i / 13) % 16) + lowest);
  return t;
}

TEST(PackNibbles, PutsTheEvenColumnLow) {
  const std::vector<std::int8_t> values{1, -2, -8, 7};
  const Tensor packed =
      pack_nibbles(Tensor::from_values<std::int8_t>(DType::kInt8, {1, 4}, values));
  EXPECT_EQ(packed.data<std::uint8_t>()[0], 0xe1);
  EXPECT_EQ(packed.data<std::uint8_t>()[1], 0x78);
}

TEST(PackNibbles, UnpackRestoresTheSign) {
  const Tensor codes = codes_of(5, 22, -8);
  EXPECT_TRUE(equal_bytes(unpack_nibbles(pack_nibbles(codes)), codes));
}

TEST(PackTiles, UnpackInverts) {
  const Tensor codes = codes_of(16, 256, 0);
  const Tensor tiles = pack_tiles(codes);
  EXPECT_EQ(tiles.shape(), (Shape{2, 2, 32, 4}));
  EXPECT_TRUE(equal_bytes(unpack_tiles(tiles), codes));
}

TEST(PackTiles, AWordHoldsEightColumnsOfOneRow) {
  // Row 9 = row 1 of the second tile; columns 128 + 32 + {2, 10, 18, 26, 3, 11, 19, 27}: lane 1*4 +
  // 1, word j = 1.
  Tensor codes = Tensor::zeros(DType::kInt8, {16, 256});
  const int columns[] = {2, 10, 18, 26, 3, 11, 19, 27};
  for (int i = 0; i < 8; ++i)
    codes.mutable_data<std::int8_t>()[9 * 256 + 160 + columns[i]] = static_cast<std::int8_t>(i + 1);
  const Tensor tiles = pack_tiles(codes);
  const std::int64_t word = ((1 * 2 + 1) * 32 + 5) * 4 + 1;
  EXPECT_EQ(tiles.data<std::uint32_t>()[word], 0x87654321u);
}

// The nibble of a code by the formulas of int4_packing.h.
std::int64_t shuffled_nibble(Int4Shuffle order, std::int64_t rows, std::int64_t n, std::int64_t k) {
  const std::int64_t columns = shuffle_columns(order);
  const std::int64_t r = n % 16;
  const std::int64_t j = k % columns;
  const std::int64_t tile = k / columns * (rows / 16) + n / 16;
  const std::int64_t nibble = order == Int4Shuffle::kBFloat16
                                  ? r % 8 * 32 + j % 8 * 4 + j / 8 * 2 + r / 8
                                  : r % 8 * 64 + j % 16 / 4 * 16 + j / 16 * 8 + r / 8 * 4 + j % 4;
  return tile * 16 * columns + nibble;
}

TEST(ShuffleNibbles, FollowsTheFormulasForAnyShape) {
  const int float8_nibbles[] = {0, 7, 6, 5, 4, 3, 2, 1, 8, 9, 10, 11, 12, 13, 14, 15};
  for (const Int4Shuffle order : {Int4Shuffle::kBFloat16, Int4Shuffle::kFloat8}) {
    for (const Shape& shape : {Shape{16, 32}, Shape{48, 64}, Shape{32, 224}}) {
      const Tensor codes = codes_of(shape[0], shape[1], -8);
      const Tensor packed = pack_nibbles(codes);
      const Tensor shuffled = shuffle_nibbles(packed, order);
      EXPECT_EQ(shuffled.shape(), packed.shape());
      EXPECT_TRUE(equal_bytes(unshuffle_nibbles(shuffled, order), packed));
      int differing = 0;
      for (std::int64_t i = 0; i < codes.numel(); ++i) {
        const std::int64_t at = shuffled_nibble(order, shape[0], i / shape[1], i % shape[1]);
        const int nibble = shuffled.data<std::uint8_t>()[at / 2] >> (at % 2 * 4) & 15;
        const int code = codes.data<std::int8_t>()[i] & 15;
        differing += nibble != (order == Int4Shuffle::kFloat8 ? float8_nibbles[code] : code);
      }
      EXPECT_EQ(differing, 0) << shape_to_string(shape);
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
