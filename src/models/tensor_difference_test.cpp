// SPDX-License-Identifier: Apache-2.0
#include "models/tensor_difference.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNaN = std::numeric_limits<float>::quiet_NaN();

Tensor floats(const std::vector<float>& values) {
  return Tensor::from_values<float>(DType::kFloat32, {static_cast<std::int64_t>(values.size())},
                                    values);
}

DiffNumbers numbers(const std::vector<float>& a, const std::vector<float>& b) {
  return tensor_difference(floats(a), floats(b)).numbers();
}

Tensor random_floats(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  Tensor out = Tensor::empty(DType::kFloat32, {count});
  for (float& value : out.mutable_span<float>())
    value = static_cast<float>(generator() % 20001) / 1e4f - 1;
  return out;
}

TEST(TensorDifference, IsWhatTheFormulasSay) {
  const DiffNumbers n = numbers({3, 4, 0, 0}, {3, 4, 0.5f, 0});
  EXPECT_EQ(n.numel, 4);
  EXPECT_EQ(n.max_abs_error, 0.5);
  EXPECT_EQ(n.mean_abs_error, 0.125);
  EXPECT_DOUBLE_EQ(n.sqnr_db, 20.0);  // 25 to 0.25
  EXPECT_FALSE(n.is_equal);
}

TEST(TensorDifference, EqualValuesHaveInfiniteSqnr) {
  const DiffNumbers n = numbers({1, -2, 0}, {1, -2, -0.0f});
  EXPECT_TRUE(n.is_equal);
  EXPECT_EQ(n.sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_TRUE(tensor_difference(floats({}), floats({})).numbers().is_equal);
}

TEST(TensorDifference, NoiseWithoutSignalIsMinusInfinity) {
  EXPECT_EQ(numbers({0, 0}, {0, 1}).sqnr_db, -std::numeric_limits<double>::infinity());
}

TEST(TensorDifference, CountsWhatIsNotFiniteAndLeavesItOut) {
  const DiffNumbers same = numbers({1, kNaN, kInf, -kInf}, {2, kNaN, kInf, -kInf});
  EXPECT_EQ(same.nonfinite_a, 3);
  EXPECT_EQ(same.nonfinite_b, 3);
  EXPECT_EQ(same.nonfinite_differing, 0);
  EXPECT_EQ(same.mean_abs_error, 1);
  EXPECT_DOUBLE_EQ(same.sqnr_db, 0);
  const DiffNumbers other = numbers({1, kNaN, kInf, 5}, {1, 2, -kInf, kInf});
  EXPECT_EQ(other.nonfinite_a, 2);
  EXPECT_EQ(other.nonfinite_b, 2);
  EXPECT_EQ(other.nonfinite_differing, 3);
  EXPECT_TRUE(std::isnan(other.sqnr_db));
  EXPECT_FALSE(other.is_equal);
  EXPECT_EQ(other.max_abs_error, 0);
}

TEST(TensorDifference, DtypesMeetInDouble) {
  const Tensor f32 = floats({1, -0.5f, 0, 448});
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16})
    EXPECT_TRUE(tensor_difference(f32, f32.to(dtype)).numbers().is_equal) << dtype_name(dtype);
  const std::vector<std::uint8_t> codes{0x38, 0xB0, 0x00, 0x7E};
  const Tensor f8 = Tensor::from_values<std::uint8_t>(DType::kFloat8E4M3FN, {4}, codes);
  EXPECT_TRUE(tensor_difference(f32, f8).numbers().is_equal);
  const std::vector<std::int64_t> integers{1, -7};
  const Tensor i64 = Tensor::from_values<std::int64_t>(DType::kInt64, {2}, integers);
  EXPECT_TRUE(tensor_difference(i64, floats({1, -7})).numbers().is_equal);
  EXPECT_FALSE(is_comparable(DType::kComplex64));
  EXPECT_FALSE(is_comparable(DType::kInt4));
}

TEST(TensorDifference, DoesNotDependOnTheNumberOfThreads) {
  const int before = num_threads();
  for (const std::int64_t count : {1, 255, 257, 16384, 16385, 100'003}) {
    const Tensor a = random_floats(count, 1);
    const Tensor b = random_floats(count, 2);
    set_num_threads(1);
    const DifferenceSums one = tensor_difference(a, b);
    for (const int threads : {2, 3, 7}) {
      set_num_threads(threads);
      const DifferenceSums many = tensor_difference(a, b);
      EXPECT_EQ(std::bit_cast<std::uint64_t>(one.noise), std::bit_cast<std::uint64_t>(many.noise))
          << count << " elements, " << threads << " threads";
      EXPECT_EQ(one.signal, many.signal);
      EXPECT_EQ(one.abs_error, many.abs_error);
      EXPECT_EQ(one.max_abs_error, many.max_abs_error);
    }
  }
  set_num_threads(before);
}

}  // namespace
}  // namespace torchao_cpp
