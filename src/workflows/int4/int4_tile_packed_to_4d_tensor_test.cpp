// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_tile_packed_to_4d_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

Tensor wave(std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(DType::kBFloat16);
}

WeightTensorPtr tiled(std::int64_t n, std::int64_t k, std::int64_t group = 32) {
  return Int4TilePackedTo4dTensor::from_hp(wave(n, k),
                                           {group, Int4ChooseQParamsAlgorithm::kTinygemm, 8});
}

std::string parts_kind(const TensorParts& parts) {
  try {
    Int4TilePackedTo4dTensor::from_parts(parts, "w");
  } catch (const CheckpointError& e) {
    return e.kind();
  }
  return "no error";
}

TEST(Int4TilePackedTo4dTensor, PadsToTilesAndKeepsTheLogicalShape) {
  const auto w = tiled(9, 64);
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(w->shape(), (Shape{9, 64}));
  EXPECT_EQ(parts.find("qdata").shape(), (Shape{2, 8, 32, 4}));
  EXPECT_EQ(parts.find("scale_and_zero").shape(), (Shape{32, 16, 2}));
  EXPECT_EQ(parts.attributes, R"({"block_size": [1, 32], "shape": [9, 64]})");
  const auto wide = Int4TilePackedTo4dTensor::from_hp(
      wave(17, 64), {32, Int4ChooseQParamsAlgorithm::kTinygemm, 16});
  EXPECT_EQ(wide->to_parts().find("qdata").shape()[0], 4);
  EXPECT_EQ(parts_kind(wide->to_parts()), "no error");
}

TEST(Int4TilePackedTo4dTensor, CanonicalFormGivesTheDequantizedValues) {
  const auto w = tiled(9, 64);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.scale.shape(), (Shape{9, 2}));
  const Tensor dequant = w->dequantize(DType::kFloat32);
  const Tensor scale = q.scale.to(DType::kFloat32);
  const Tensor zero = q.zero_point.to(DType::kFloat32);
  for (std::int64_t i = 0; i < 9 * 64; ++i) {
    const int nibble = (q.qdata.data<std::uint8_t>()[i / 2] >> (i % 2 * 4)) & 15;
    const float code = static_cast<float>((nibble ^ 8) - 8);
    const std::int64_t group = i / 32;
    EXPECT_EQ(dequant.data<float>()[i],
              code * scale.data<float>()[group] + zero.data<float>()[group])
        << i;
  }
}

TEST(Int4TilePackedTo4dTensor, HqqStaysCloseToTheWeight) {
  const Tensor weight = wave(8, 128);
  const auto w =
      Int4TilePackedTo4dTensor::from_hp(weight, {64, Int4ChooseQParamsAlgorithm::kHqq, 8});
  const Tensor d = w->dequantize(DType::kFloat32);
  const Tensor f = weight.to(DType::kFloat32);
  for (std::int64_t i = 0; i < d.numel(); ++i)
    EXPECT_NEAR(d.data<float>()[i], f.data<float>()[i], 0.04f) << i;
}

TEST(Int4TilePackedTo4dTensor, TakesBfloat16AndWholeGroupsOnly) {
  const Int4TilePackedOptions options{32, Int4ChooseQParamsAlgorithm::kTinygemm, 8};
  EXPECT_THROW(Int4TilePackedTo4dTensor::from_hp(wave(8, 64).to(DType::kFloat32), options),
               UnsupportedError);
  EXPECT_THROW(tiled(8, 96, 48), ShapeError);
  EXPECT_THROW(tiled(8, 64, 0), ShapeError);
}

TEST(Int4TilePackedTo4dTensor, RefusesPartsThatDoNotFit) {
  const TensorParts good = tiled(9, 64)->to_parts();
  EXPECT_EQ(parts_kind(good), "no error");
  const auto with_attributes = [&](const char* text) {
    TensorParts parts = good;
    parts.attributes = text;
    return parts_kind(parts);
  };
  EXPECT_EQ(with_attributes(R"({"block_size": [1, 32], "shape": [17, 64]})"), "ao.shape_mismatch");
  EXPECT_EQ(with_attributes(R"({"block_size": [1, 32], "shape": [9, 1088]})"), "ao.shape_mismatch");
  EXPECT_EQ(with_attributes(R"({"block_size": [1, 32], "shape": [9, 9223372036854775807]})"),
            "ao.shape_mismatch");
  EXPECT_EQ(with_attributes(R"({"block_size": [1, 64], "shape": [9, 64]})"), "ao.shape_mismatch");
  EXPECT_EQ(with_attributes(R"({"block_size": [1, 32]})"), "ao.metadata_invalid");
  TensorParts flat = good;
  flat.parts[0].second = Tensor::zeros(DType::kInt32, {16, 128});
  EXPECT_EQ(parts_kind(flat), "ao.shape_mismatch");
  TensorParts bytes = good;
  bytes.parts[1].second = Tensor::zeros(DType::kFloat16, {32, 16, 2});
  EXPECT_EQ(parts_kind(bytes), "ao.dtype_mismatch");
}

TEST(Int4TilePackedTo4dTensor, SlicesWholeTilesOnly) {
  const auto w = tiled(20, 2048);
  const Tensor dequant = w->dequantize();
  EXPECT_TRUE(equal_bytes(w->slice(0, 8, 16)->dequantize(), dequant.narrow(0, 8, 8)));
  EXPECT_TRUE(equal_bytes(w->slice(0, 8, 20)->dequantize(), dequant.narrow(0, 8, 12)));
  EXPECT_TRUE(equal_bytes(w->slice(1, 1024, 2048)->dequantize(), dequant.narrow(1, 1024, 1024)));
  EXPECT_EQ(parts_kind(w->slice(0, 8, 20)->to_parts()), "no error");
  EXPECT_EQ(parts_kind(w->slice(1, 1024, 2048)->to_parts()), "no error");
  EXPECT_THROW(w->slice(0, 4, 12), ShapeError);
  EXPECT_THROW(w->slice(0, 0, 12), ShapeError);
  EXPECT_THROW(w->slice(1, 512, 1536), ShapeError);
  EXPECT_THROW(tiled(8, 1536)->slice(1, 0, 768), ShapeError);
}

TEST(Int4TilePackedTo4dTensor, StacksWherePaddingStaysAtTheEnd) {
  const auto w = tiled(20, 64);
  const auto stacked =
      w->concat_rows(std::vector<WeightTensorPtr>{w->slice(0, 0, 8), w->slice(0, 8, 20)});
  ASSERT_NE(stacked, nullptr);
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), w->dequantize()));
  EXPECT_EQ(parts_kind(stacked->to_parts()), "no error");
  EXPECT_EQ(w->concat_rows(std::vector<WeightTensorPtr>{w, w}), nullptr);
}

}  // namespace
}  // namespace torchao_cpp
