// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_plain_int32_tensor.h"

#include <gtest/gtest.h>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

TensorParts plain_parts() {
  TensorParts parts;
  parts.class_name = "Int4PlainInt32Tensor";
  parts.attributes = R"({"block_size": [1, 32], "shape": [4, 64]})";
  parts.parts.emplace_back("qdata", Tensor::zeros(DType::kInt32, {4, 8}));
  parts.parts.emplace_back("scale", Tensor::zeros(DType::kBFloat16, {2, 4}));
  parts.parts.emplace_back("zero_point", Tensor::zeros(DType::kInt8, {2, 4}));
  return parts;
}

std::string parts_kind(const TensorParts& parts) {
  try {
    Int4PlainInt32Tensor::from_parts(parts, "w");
  } catch (const CheckpointError& e) {
    return e.kind();
  }
  return "no error";
}

TEST(Int4PlainInt32Tensor, KeepsAndWritesBackItsParts) {
  TensorParts parts = plain_parts();
  parts.parts.insert(parts.parts.begin(), {"act_pre_scale", Tensor::zeros(DType::kBFloat16, {64})});
  const auto w = Int4PlainInt32Tensor::from_parts(parts, "w");
  const TensorParts again = w->to_parts();
  EXPECT_EQ(again.attributes, parts.attributes);
  ASSERT_EQ(again.parts.size(), 4U);
  EXPECT_EQ(again.parts[0].first, "act_pre_scale");
  EXPECT_EQ(w->shape(), (Shape{4, 64}));
  EXPECT_EQ(w->dtype(), DType::kBFloat16);
}

TEST(Int4PlainInt32Tensor, RefusesToCompute) {
  const auto w = Int4PlainInt32Tensor::from_parts(plain_parts(), "w");
  EXPECT_THROW(w->dequantize(), UnsupportedError);
  EXPECT_THROW(w->to_quantized_weight(), UnsupportedError);
  EXPECT_THROW(w->slice(0, 0, 2), ShapeError);
  EXPECT_NO_THROW(w->slice(0, 0, 4));
}

TEST(Int4PlainInt32Tensor, RefusesPartsThatDoNotFit) {
  EXPECT_EQ(parts_kind(plain_parts()), "no error");
  TensorParts npu = plain_parts();
  npu.parts[2].second = Tensor::zeros(DType::kBFloat16, {2, 4});
  EXPECT_EQ(parts_kind(npu), "no error");
  TensorParts zero = plain_parts();
  zero.parts[2].second = Tensor::zeros(DType::kFloat32, {2, 4});
  EXPECT_EQ(parts_kind(zero), "ao.dtype_mismatch");
  TensorParts shape = plain_parts();
  shape.attributes = R"({"block_size": [1, 32], "shape": [4, 32]})";
  EXPECT_EQ(parts_kind(shape), "ao.shape_mismatch");
  TensorParts scale = plain_parts();
  scale.parts[1].second = Tensor::zeros(DType::kBFloat16, {4, 2});
  EXPECT_EQ(parts_kind(scale), "ao.shape_mismatch");
}

}  // namespace
}  // namespace torchao_cpp
