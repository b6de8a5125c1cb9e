// SPDX-License-Identifier: Apache-2.0
#include "core/affine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "core/float_formats.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;

Tensor weight_f32(std::int64_t n, std::int64_t k, const std::vector<float>& values) {
  return Tensor::from_values<float>(DType::kFloat32, {n, k}, values);
}

std::vector<float> floats(const Tensor& t) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < t.numel(); ++i) out.push_back(load_float(t.dtype(), t.bytes(), i));
  return out;
}

std::vector<int> codes(const Tensor& t) {
  const auto span = t.span<std::int8_t>();
  return {span.begin(), span.end()};
}

TEST(ChooseQParams, SymmetricDividesTheLargestMagnitudeByHalfTheRange) {
  const Tensor w = weight_f32(2, 2, {1.0f, -2.0f, 0.5f, 0.25f});
  const AffineQParams q = choose_qparams_affine(w, {1, 2}, MappingType::kSymmetric, {-128, 127});
  EXPECT_THAT(floats(q.scale), ElementsAre(2.0f / 127.5f, 0.5f / 127.5f));
  EXPECT_THAT(codes(q.zero_point), ElementsAre(0, 0));
}

TEST(ChooseQParams, NoClippingErrTakesTheLargerOfBothEnds) {
  const Tensor w = weight_f32(1, 2, {-8.0f, 3.5f});
  const AffineQParams q =
      choose_qparams_affine(w, {1, 2}, MappingType::kSymmetricNoClippingErr, {-8, 7});
  EXPECT_THAT(floats(q.scale), ElementsAre(1.0f));
  const Tensor other = weight_f32(1, 2, {-1.0f, 14.0f});
  EXPECT_THAT(
      floats(choose_qparams_affine(other, {1, 2}, MappingType::kSymmetricNoClippingErr, {-8, 7})
                 .scale),
      ElementsAre(2.0f));
}

TEST(ChooseQParams, AsymmetricKeepsZeroInsideTheRange) {
  // All positive: the low end is 0, so the zero point is the smallest code.
  const Tensor w = weight_f32(1, 2, {7.5f, 15.0f});
  const AffineQParams q = choose_qparams_affine(w, {1, 2}, MappingType::kAsymmetric, {-8, 7});
  EXPECT_THAT(floats(q.scale), ElementsAre(1.0f));
  EXPECT_THAT(codes(q.zero_point), ElementsAre(-8));
}

TEST(ChooseQParams, RoundsEveryStepToTheWeightsDtype) {
  const Tensor w = weight_f32(1, 2, {0.3f, -0.1f}).to(DType::kBFloat16);
  const AffineQParams q = choose_qparams_affine(w, {1, 2}, MappingType::kSymmetric, {-8, 7});
  EXPECT_EQ(q.scale.dtype(), DType::kBFloat16);
  EXPECT_THAT(floats(q.scale),
              ElementsAre(round_to(DType::kBFloat16, round_to(DType::kBFloat16, 0.3f) / 7.5f)));
}

TEST(ChooseQParams, BoundsTheScaleByTheSmallestNormalNumber) {
  const Tensor zeros = Tensor::zeros(DType::kFloat16, {1, 4});
  EXPECT_THAT(floats(choose_qparams_affine(zeros, {1, 4}, MappingType::kSymmetric, {-8, 7}).scale),
              ElementsAre(0x1p-14f));
  const Tensor zeros32 = Tensor::zeros(DType::kFloat32, {1, 4});
  EXPECT_THAT(
      floats(choose_qparams_affine(zeros32, {1, 4}, MappingType::kSymmetric, {-8, 7}).scale),
      ElementsAre(0x1p-126f));
  EXPECT_THAT(
      floats(
          choose_qparams_affine(zeros32, {1, 4}, MappingType::kSymmetric, {-8, 7}, 0x1p-23f).scale),
      ElementsAre(0x1p-23f));
}

TEST(ChooseQParams, BlocksMaySpanRows) {
  const Tensor w = weight_f32(4, 2, {1.0f, 2.0f, -4.0f, 0.0f, 0.0f, 0.5f, 0.25f, -8.0f});
  const AffineQParams q = choose_qparams_affine(w, {2, 1}, MappingType::kSymmetric, {-128, 127});
  EXPECT_EQ(q.scale.shape(), (Shape{2, 2}));
  EXPECT_THAT(floats(q.scale),
              ElementsAre(4.0f / 127.5f, 2.0f / 127.5f, 0.25f / 127.5f, 8.0f / 127.5f));
}

TEST(ChooseQParams, KeepsInfinityAndNaNInsideTheirBlock) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor w = weight_f32(3, 2, {1.0f, inf, std::nanf(""), 1.0f, 1.0f, 1.0f});
  const std::vector<float> s =
      floats(choose_qparams_affine(w, {1, 2}, MappingType::kSymmetric, {-8, 7}).scale);
  EXPECT_EQ(s[0], inf);
  EXPECT_TRUE(std::isnan(s[1]));
  EXPECT_FLOAT_EQ(s[2], 1.0f / 7.5f);
}

TEST(QuantizeAffine, RoundsHalfToEvenAndClamps) {
  const Tensor w = weight_f32(1, 6, {0.5f, 1.5f, 2.5f, -0.5f, 100.0f, -100.0f});
  const Tensor scale = weight_f32(1, 1, {1.0f});
  EXPECT_THAT(codes(quantize_affine(w, {1, 6}, scale, {}, {-8, 7})),
              ElementsAre(0, 2, 2, 0, 7, -8));
}

TEST(QuantizeAffine, MultipliesByTheRoundedReciprocal) {
  // 7.5 / 3 is a tie that goes to 2; 1/3 in bfloat16 is 0.333984375, which puts the product above
  // the tie.
  const Tensor w = weight_f32(1, 1, {7.5f});
  const Tensor scale = weight_f32(1, 1, {3.0f}).to(DType::kBFloat16);
  EXPECT_THAT(codes(quantize_affine(w, {1, 1}, scale, {}, {-8, 7})), ElementsAre(3));
}

TEST(QuantizeAffine, GivesCodeZeroForNaN) {
  const Tensor w = weight_f32(1, 2, {std::nanf(""), 3.0f});
  const Tensor scale = weight_f32(1, 1, {1.0f});
  EXPECT_THAT(codes(quantize_affine(w, {1, 2}, scale, {}, {-8, 7})), ElementsAre(0, 3));
}

TEST(DequantizeAffine, RoundsOnceInTheOutputDtype) {
  const std::vector<std::int8_t> q{100, -3};
  const Tensor qdata = Tensor::from_values<std::int8_t>(DType::kInt8, {1, 2}, q);
  const Tensor scale = weight_f32(1, 1, {0.1f});
  const std::vector<std::int8_t> z{1};
  const Tensor zp = Tensor::from_values<std::int8_t>(DType::kInt8, {1, 1}, z);
  EXPECT_THAT(floats(dequantize_affine(qdata, {1, 2}, scale, zp, DType::kFloat32)),
              ElementsAre(99.0f * 0.1f, -4.0f * 0.1f));
  EXPECT_THAT(floats(dequantize_affine(qdata, {1, 2}, scale, {}, DType::kBFloat16)),
              ElementsAre(round_to(DType::kBFloat16, 100.0f * 0.1f),
                          round_to(DType::kBFloat16, -3.0f * 0.1f)));
}

TEST(Affine, ResultDoesNotDependOnTheNumberOfThreads) {
  const std::int64_t n = 301;
  const std::int64_t k = 512;
  std::vector<float> values(static_cast<std::size_t>(n * k));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::sin(static_cast<float>(i) * 0.37f);
  const Tensor w = weight_f32(n, k, values).to(DType::kBFloat16);
  const int before = num_threads();
  const auto run = [&](int threads) {
    set_num_threads(threads);
    const AffineQParams q = choose_qparams_affine(w, {1, 32}, MappingType::kAsymmetric, {-8, 7});
    return std::pair{q.scale, quantize_affine(w, {1, 32}, q.scale, q.zero_point, {-8, 7})};
  };
  const auto one = run(1);
  const auto three = run(3);
  set_num_threads(before);
  EXPECT_TRUE(equal_bytes(one.first, three.first));
  EXPECT_TRUE(equal_bytes(one.second, three.second));
}

TEST(BlockSizeFromGranularity, FollowsTorchao) {
  EXPECT_EQ(block_size_from_granularity(PerTensor{}, 4, 6), (BlockSize{4, 6}));
  EXPECT_EQ(block_size_from_granularity(PerRow{}, 4, 6), (BlockSize{1, 6}));
  EXPECT_EQ(block_size_from_granularity(PerRow{0}, 4, 6), (BlockSize{4, 1}));
  EXPECT_EQ(block_size_from_granularity(PerAxis{0}, 4, 6), (BlockSize{1, 6}));
  EXPECT_EQ(block_size_from_granularity(PerGroup{3}, 4, 6), (BlockSize{1, 3}));
  EXPECT_EQ(block_size_from_granularity(PerBlock{{2, 3}}, 4, 6), (BlockSize{2, 3}));
  EXPECT_THROW(block_size_from_granularity(PerGroup{4}, 4, 6), ShapeError);
  EXPECT_THROW(block_size_from_granularity(PerGroup{0}, 4, 6), ShapeError);
  EXPECT_THROW(block_size_from_granularity(PerBlock{{3, 3}}, 4, 6), ShapeError);
  EXPECT_THROW(block_size_from_granularity(PerToken{}, 4, 6), UnsupportedError);
}

TEST(CheckWeightMatrix, RefusesWhatCannotBeQuantized) {
  EXPECT_THROW(check_weight_matrix(Tensor::zeros(DType::kFloat32, {4}), "X"), ShapeError);
  EXPECT_THROW(check_weight_matrix(Tensor::zeros(DType::kFloat32, {0, 4}), "X"), ShapeError);
  EXPECT_THROW(check_weight_matrix(Tensor::zeros(DType::kInt8, {4, 4}), "X"), UnsupportedError);
  EXPECT_NO_THROW(check_weight_matrix(Tensor::zeros(DType::kFloat16, {4, 4}), "X"));
}

}  // namespace
}  // namespace torchao_cpp
