// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "torchao_cpp/error.h"
#include "workflows/int4/int4_packing.h"

namespace torchao_cpp {
namespace {

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

template <typename F>
std::string kind_of(const F& fn) {
  try {
    fn();
  } catch (const CheckpointError& e) {
    return e.kind();
  }
  return "no error";
}

std::string parts_kind(const TensorParts& parts) {
  return kind_of([&] { Int4Tensor::from_parts(parts, "w"); });
}

TEST(Int4Tensor, WritesTorchaosAttributes) {
  const TensorParts parts =
      Int4Tensor::from_hp(wave(DType::kBFloat16, 3, 8), 4, DType::kBFloat16)->to_parts();
  EXPECT_EQ(
      parts.attributes,
      R"({"activation_dtype": {"_type": "torch.dtype", "_data": "bfloat16"}, "block_size": [1, 4], "shape": [3, 8]})");
  EXPECT_EQ(parts.find("qdata").shape(), (Shape{3, 4}));
  EXPECT_EQ(parts.find("scale").shape(), (Shape{2, 3}));
  EXPECT_EQ(parts.find("scale").dtype(), DType::kBFloat16);
}

TEST(Int4Tensor, FromHpSpansMinToMax) {
  const std::vector<float> values{0.0f, 1.0f, 7.0f, 15.0f};
  const auto w = Int4Tensor::from_hp(Tensor::from_values<float>(DType::kFloat32, {1, 4}, values), 4,
                                     DType::kBFloat16);
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(parts.find("scale").data<float>()[0], 1.0f);
  EXPECT_EQ(parts.find("zero_point").data<float>()[0], 8.0f);
  const Tensor codes = unpack_nibbles(parts.find("qdata"));
  EXPECT_EQ(codes.data<std::int8_t>()[0], -8);
  EXPECT_EQ(codes.data<std::int8_t>()[3], 7);
  EXPECT_TRUE(
      equal_bytes(w->dequantize(), Tensor::from_values<float>(DType::kFloat32, {1, 4}, values)));
}

TEST(Int4Tensor, Float8ActivationsMakeTheWeightSymmetric) {
  const auto w = Int4Tensor::from_hp(wave(DType::kBFloat16, 2, 8), 4, DType::kFloat8E4M3FN);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.zero_point_domain, ZeroPointDomain::kNone);
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kFloat8Dynamic);
  EXPECT_EQ(q.activation.dtype, DType::kFloat8E4M3FN);
}

TEST(Int4Tensor, CanonicalFormTurnsTheScales) {
  const auto w = Int4Tensor::from_hp(wave(DType::kBFloat16, 3, 8), 4, DType::kBFloat16);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.scale.shape(), (Shape{3, 2}));
  EXPECT_TRUE(equal_bytes(q.scale.transposed(), w->to_parts().find("scale")));
  EXPECT_EQ(q.zero_point_domain, ZeroPointDomain::kFloat);
  EXPECT_EQ(q.codes_per_byte, 2);
  EXPECT_EQ(q.bias_rounding, BiasRounding::kSeparate);
}

TEST(Int4Tensor, ReadsFilesWithoutActivationDtype) {
  TensorParts parts =
      Int4Tensor::from_hp(wave(DType::kBFloat16, 3, 8), 4, DType::kBFloat16)->to_parts();
  parts.attributes = R"({"block_size": [1, 4], "shape": [3, 8]})";
  EXPECT_EQ(Int4Tensor::from_parts(parts, "w")->to_quantized_weight().activation.kind,
            ActivationQuant::Kind::kNone);
}

TEST(Int4Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good =
      Int4Tensor::from_hp(wave(DType::kBFloat16, 3, 8), 4, DType::kBFloat16)->to_parts();
  EXPECT_EQ(parts_kind(good), "no error");
  TensorParts shape = good;
  shape.attributes = R"({"block_size": [1, 4], "shape": [3, 16]})";
  EXPECT_EQ(parts_kind(shape), "ao.shape_mismatch");
  TensorParts block = good;
  block.attributes = R"({"block_size": [3, 4], "shape": [3, 8]})";
  EXPECT_EQ(parts_kind(block), "ao.shape_mismatch");
  TensorParts activation = good;
  activation.attributes =
      R"({"activation_dtype": {"_type": "torch.dtype", "_data": "int8"}, "block_size": [1, 4], "shape": [3, 8]})";
  EXPECT_EQ(parts_kind(activation), "ao.metadata_invalid");
  TensorParts scale = good;
  scale.parts[1].second = Tensor::zeros(DType::kBFloat16, {3, 2});
  EXPECT_EQ(parts_kind(scale), "ao.shape_mismatch");
  TensorParts zero = good;
  zero.parts[2].second = Tensor::zeros(DType::kFloat32, {2, 3});
  EXPECT_EQ(parts_kind(zero), "ao.dtype_mismatch");
}

TEST(Int4Tensor, RefusesWeightsWithoutWholeGroups) {
  EXPECT_THROW(Int4Tensor::from_hp(wave(DType::kBFloat16, 2, 8), 3, DType::kBFloat16), ShapeError);
  EXPECT_THROW(Int4Tensor::from_hp(wave(DType::kBFloat16, 2, 8), 1, DType::kBFloat16), ShapeError);
  EXPECT_THROW(Int4Tensor::from_hp(wave(DType::kBFloat16, 2, 9), 3, DType::kBFloat16), ShapeError);
  EXPECT_THROW(Int4Tensor::from_hp(wave(DType::kBFloat16, 2, 8), 4, DType::kInt8),
               UnsupportedError);
}

TEST(Int4Tensor, SlicesAndStacksKeepValues) {
  const auto w = Int4Tensor::from_hp(wave(DType::kBFloat16, 5, 16), 8, DType::kBFloat16);
  const Tensor dequant = w->dequantize();
  EXPECT_TRUE(equal_bytes(w->slice(0, 1, 4)->dequantize(), dequant.narrow(0, 1, 3)));
  EXPECT_TRUE(equal_bytes(w->slice(1, 8, 16)->dequantize(), dequant.narrow(1, 8, 8)));
  EXPECT_TRUE(equal_bytes(w->slice(1, 2, 6)->dequantize(), dequant.narrow(1, 2, 4)));
  EXPECT_THROW(w->slice(1, 4, 12), ShapeError);
  EXPECT_THROW(w->slice(1, 1, 5), ShapeError);
  const auto stacked =
      w->concat_rows(std::vector<WeightTensorPtr>{w->slice(0, 0, 2), w->slice(0, 2, 5)});
  ASSERT_NE(stacked, nullptr);
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), dequant));
  const auto other = Int4Tensor::from_hp(wave(DType::kBFloat16, 5, 16), 4, DType::kBFloat16);
  EXPECT_EQ(w->concat_rows(std::vector<WeightTensorPtr>{w, other}), nullptr);
}

}  // namespace
}  // namespace torchao_cpp
