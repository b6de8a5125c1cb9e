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

}  // namespace
}  // namespace torchao_cpp
