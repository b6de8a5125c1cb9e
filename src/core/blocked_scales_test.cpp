// SPDX-License-Identifier: Apache-2.0
#include "core/blocked_scales.h"

#include <gtest/gtest.h>

#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

Tensor numbered(std::int64_t rows, std::int64_t columns) {
  Tensor t = Tensor::empty(DType::kFloat8E8M0FNU, {rows, columns});
  auto* v = t.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < t.numel(); ++i) v[i] = static_cast<std::uint8_t>(1 + i % 251);
  return t;
}

TEST(BlockedScales, ShapeIsPaddedToTiles) {
  EXPECT_EQ(blocked_scale_shape(48, 4), (Shape{32, 16}));
  EXPECT_EQ(blocked_scale_shape(129, 5), (Shape{64, 32}));
  EXPECT_EQ(blocked_scale_shape(128, 16), (Shape{32, 64}));
}

TEST(BlockedScales, PlacesScalesAsTheTileSays) {
  const Tensor plain = numbered(130, 6);
  const Tensor blocked = to_blocked(plain);
  ASSERT_EQ(blocked.shape(), (Shape{64, 32}));
  const auto* from = plain.data<std::uint8_t>();
  const auto* to = blocked.data<std::uint8_t>();
  // Row 33, column 1: second group of 32 rows of the first tile.
  EXPECT_EQ(to[1 * 16 + 1 * 4 + 1], from[33 * 6 + 1]);
  // Column 5 is in the second tile across, row 129 in the second row of tiles.
  EXPECT_EQ(to[512 + 1], from[5]);
  EXPECT_EQ(to[3 * 512 + 1 * 16 + 1], from[129 * 6 + 5]);
  // Padding: column 6 of row 0.
  EXPECT_EQ(to[512 + 2], 0);
}

TEST(BlockedScales, RoundTrips) {
  for (const auto& [rows, columns] :
       std::vector<std::pair<int, int>>{{1, 1}, {17, 3}, {128, 4}, {130, 6}, {300, 9}}) {
    const Tensor plain = numbered(rows, columns);
    EXPECT_TRUE(equal_bytes(from_blocked(to_blocked(plain), rows, columns), plain));
  }
}

TEST(BlockedScales, RefusesAnotherShape) {
  EXPECT_THROW(from_blocked(Tensor::zeros(DType::kFloat8E8M0FNU, {32, 16}), 129, 4), ShapeError);
  EXPECT_THROW(from_blocked(Tensor::zeros(DType::kFloat8E8M0FNU, {512}), 48, 4), ShapeError);
}

}  // namespace
}  // namespace torchao_cpp
