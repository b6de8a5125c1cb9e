// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include <cstdint>
#include <limits>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

Tensor iota(Shape shape) {
  Tensor t = Tensor::empty(DType::kInt32, std::move(shape));
  std::int32_t i = 0;
  for (auto& value : t.mutable_span<std::int32_t>()) value = i++;
  return t;
}

TEST(Tensor, NarrowOfRowsSharesStorage) {
  Tensor t = iota({4, 3});
  Tensor rows = t.narrow(0, 1, 2);
  EXPECT_EQ(rows.shape(), (Shape{2, 3}));
  rows.mutable_data<std::int32_t>()[0] = 99;
  EXPECT_EQ(t.data<std::int32_t>()[3], 99);
}

TEST(Tensor, NarrowOfColumnsCopiesTheRightElements) {
  const Tensor columns = iota({2, 5}).narrow(1, 2, 2);
  const auto s = columns.span<std::int32_t>();
  EXPECT_EQ(std::vector<std::int32_t>(s.begin(), s.end()), (std::vector<std::int32_t>{2, 3, 7, 8}));
}

TEST(Tensor, NarrowOutOfRangeThrows) {
  const Tensor t = iota({2, 5});
  EXPECT_THROW(t.narrow(1, 4, 2), ShapeError);
  EXPECT_THROW(t.narrow(1, -1, 2), ShapeError);
  EXPECT_THROW(t.narrow(2, 0, 1), ShapeError);
  EXPECT_THROW(t.narrow(0, std::numeric_limits<std::int64_t>::max(), 1), ShapeError);
}

TEST(Tensor, OverflowingShapeThrows) {
  EXPECT_THROW(Tensor::empty(DType::kFloat32, {std::int64_t{1} << 62, 4}), ShapeError);
  EXPECT_THROW(Tensor::empty(DType::kFloat32, {-1}), ShapeError);
}

TEST(Tensor, BorrowedTensorsAreReadOnly) {
  const std::int32_t values[2] = {1, 2};
  Tensor t = Tensor::borrow(values, DType::kInt32, {2}, nullptr);
  EXPECT_THROW(t.mutable_bytes(), Error);
  EXPECT_EQ(t.clone().mutable_data<std::int32_t>()[1], 2);
}

TEST(Tensor, ConcatRowsStacks) {
  const std::vector<Tensor> parts{iota({1, 2}), iota({2, 2})};
  const Tensor t = concat_rows(parts);
  EXPECT_EQ(t.shape(), (Shape{3, 2}));
  EXPECT_EQ(t.data<std::int32_t>()[5], 3);
  const std::vector<Tensor> bad{iota({1, 2}), iota({1, 3})};
  EXPECT_THROW(concat_rows(bad), ShapeError);
}

TEST(Tensor, TransposeMovesElements) {
  const Tensor t = iota({2, 3}).transposed();
  EXPECT_EQ(t.shape(), (Shape{3, 2}));
  EXPECT_EQ(t.data<std::int32_t>()[1], 3);
}

TEST(ConcatRows, SharesReadOnlyPartsThatFollowEachOther) {
  const auto owner = std::make_shared<const std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
  const std::weak_ptr<const std::vector<float>> watched = owner;
  const auto rows = [&](std::size_t first, std::int64_t count) {
    return Tensor::borrow(owner->data() + first, DType::kFloat32, {count, 2}, owner);
  };
  const Tensor joined = concat_rows(std::vector<Tensor>{rows(0, 1), rows(2, 2)});
  EXPECT_EQ(joined.bytes(), reinterpret_cast<const std::byte*>(owner->data()));
  EXPECT_EQ(joined.shape(), (Shape{3, 2}));
  EXPECT_TRUE(joined.is_read_only());
  const Tensor swapped = concat_rows(std::vector<Tensor>{rows(4, 1), rows(0, 1)});
  EXPECT_FALSE(swapped.is_read_only());
  EXPECT_EQ(swapped.span<float>()[0], 5);
  EXPECT_EQ(swapped.span<float>()[3], 2);
  const Tensor own = Tensor::zeros(DType::kFloat32, {1, 2});
  EXPECT_NE(concat_rows(std::vector<Tensor>{own}).bytes(), own.bytes());
}

TEST(LargeTensors, AreZeroAndAligned) {
  for (const std::int64_t bytes : {(1 << 20) - 1, 1 << 20, (5 << 20) + 3}) {
    Tensor zeros = Tensor::zeros(DType::kUInt8, {bytes});
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(zeros.bytes()) % 64, 0U);
    const auto all = zeros.span<std::uint8_t>();
    EXPECT_TRUE(std::all_of(all.begin(), all.end(), [](std::uint8_t v) { return v == 0; }));
    std::fill(zeros.mutable_bytes(), zeros.mutable_bytes() + bytes, std::byte{3});
    EXPECT_TRUE(equal_bytes(zeros.clone(), zeros));
  }
}

}  // namespace
}  // namespace torchao_cpp
