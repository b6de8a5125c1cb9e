// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_preshuffled_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "core/float_formats.h"
#include "torchao_cpp/error.h"
#include "workflows/int4/int4_packing.h"

namespace torchao_cpp {
namespace {

using testing::HasSubstr;

constexpr DType kActivations[] = {DType::kBFloat16, DType::kFloat8E4M3FN};

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

WeightTensorPtr quantized(std::int64_t n, std::int64_t k, std::int64_t group, DType activation) {
  return Int4PreshuffledTensor::from_hp(wave(DType::kBFloat16, n, k), group, activation);
}

template <typename F>
std::pair<std::string, std::string> error_of(const F& fn) {
  try {
    fn();
  } catch (const CheckpointError& e) {
    return {e.kind(), e.what()};
  } catch (const Error& e) {
    return {"error", e.what()};
  }
  return {"no error", ""};
}

std::string parts_kind(const TensorParts& parts) {
  return error_of([&] { Int4PreshuffledTensor::from_parts(parts, "w"); }).first;
}

Tensor& part(TensorParts& parts, std::string_view name) {
  for (auto& [key, tensor] : parts.parts)
    if (key == name) return tensor;
  throw std::out_of_range(std::string(name));
}

TEST(Int4PreshuffledTensor, WritesTorchaosPartsForEachActivation) {
  const TensorParts bf16 = quantized(32, 64, 32, DType::kBFloat16)->to_parts();
  EXPECT_EQ(bf16.attributes, R"({"block_size": [1, 32], "shape": [32, 64]})");
  ASSERT_EQ(bf16.parts.size(), 3u);
  EXPECT_EQ(bf16.find("qdata").shape(), (Shape{32, 32}));
  EXPECT_EQ(bf16.find("group_scale").shape(), (Shape{2, 32}));
  EXPECT_EQ(bf16.find("group_zero").dtype(), DType::kBFloat16);
  const TensorParts fp8 = quantized(32, 64, 32, DType::kFloat8E4M3FN)->to_parts();
  ASSERT_EQ(fp8.parts.size(), 3u);
  EXPECT_EQ(fp8.find("group_scale").shape(), (Shape{2, 8, 32}));
  EXPECT_EQ(fp8.find("group_scale").dtype(), DType::kFloat8E4M3FN);
  EXPECT_EQ(fp8.find("row_scale").shape(), (Shape{32}));
  EXPECT_EQ(fp8.find("row_scale").dtype(), DType::kFloat32);
}

TEST(Int4PreshuffledTensor, ReadsBackWhatItWrites) {
  for (const DType activation : kActivations) {
    const WeightTensorPtr w = quantized(48, 96, 32, activation);
    const TensorParts parts = w->to_parts();
    const WeightTensorPtr back = Int4PreshuffledTensor::from_parts(parts, "w");
    EXPECT_TRUE(equal_bytes(back->dequantize(), w->dequantize()));
    for (const auto& [name, tensor] : back->to_parts().parts)
      EXPECT_TRUE(equal_bytes(tensor, parts.find(name))) << name;
  }
}

TEST(Int4PreshuffledTensor, AScaleIsTheRangeTimesTheReciprocalOf15InBfloat16) {
  // 2 / 15 and 2 * float32(1 / 15) round to different float32, and so may their bfloat16.
  Tensor w = Tensor::zeros(DType::kFloat32, {16, 16});
  for (std::int64_t r = 0; r < 16; ++r)
    w.mutable_data<float>()[r * 16 + 3] = static_cast<float>(r + 1);
  const TensorParts parts = Int4PreshuffledTensor::from_hp(w, 16, DType::kBFloat16)->to_parts();
  for (std::int64_t r = 0; r < 16; ++r) {
    const float scale = static_cast<float>(r + 1) * (1.0f / 15.0f);
    EXPECT_EQ(load_float(DType::kBFloat16, parts.find("group_scale").bytes(), r),
              round_to(DType::kBFloat16, scale));
    EXPECT_EQ(load_float(DType::kBFloat16, parts.find("group_zero").bytes(), r),
              round_to(DType::kBFloat16, scale * 8.0f));
  }
}

TEST(Int4PreshuffledTensor, TheFloat8FormIsATableOfRoundedMultiplesAndARowScale) {
  // Row 0: max 448, so that float8 keeps the values; its only group has scale 448 / 8 = 56.
  Tensor w = Tensor::zeros(DType::kFloat32, {16, 32});
  auto* v = w.mutable_data<float>();
  for (int i = 0; i < 15; ++i) v[i] = static_cast<float>(i - 8) * 56.0f;
  v[32] = 1e-4f;  // Row 1: below the least maximum, 1 / 512.
  const auto weight = Int4PreshuffledTensor::from_hp(w, 32, DType::kFloat8E4M3FN);
  const TensorParts parts = weight->to_parts();
  const auto* table = parts.find("group_scale").data<std::uint8_t>();
  const float multiples[] = {-448, -384, -320, -288,
                             -224, -160, -112, -56};  // -7, -6, -5 and -3 round
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(decode_float(DType::kFloat8E4M3FN, table[i]), multiples[i]) << i;
  const Tensor dequant = weight->dequantize(DType::kFloat32);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(dequant.data<float>()[i], multiples[i]) << i;
  EXPECT_EQ(dequant.data<float>()[8], 0.0f);
  for (int i = 9; i < 15; ++i) EXPECT_EQ(dequant.data<float>()[i], -multiples[16 - i]) << i;
  EXPECT_EQ(parts.find("row_scale").data<float>()[0], 1.0f);
  EXPECT_EQ(parts.find("row_scale").data<float>()[1], (1.0f / 512.0f) / 448.0f);
  EXPECT_EQ(parts.find("row_scale").data<float>()[2], (1.0f / 512.0f) / 448.0f);
}

TEST(Int4PreshuffledTensor, CanonicalFormIsInt4OrFloat8WithARowScale) {
  const QuantizedWeight bf16 = quantized(16, 64, 32, DType::kBFloat16)->to_quantized_weight();
  EXPECT_EQ(bf16.weight_dtype, DType::kInt4);
  EXPECT_EQ(bf16.zero_point_domain, ZeroPointDomain::kFloat);
  EXPECT_EQ(bf16.scale.shape(), (Shape{16, 2}));
  EXPECT_EQ(bf16.activation.kind, ActivationQuant::Kind::kNone);
  const QuantizedWeight fp8 = quantized(16, 64, 32, DType::kFloat8E4M3FN)->to_quantized_weight();
  EXPECT_EQ(fp8.weight_dtype, DType::kFloat8E4M3FN);
  EXPECT_EQ(fp8.qdata.shape(), (Shape{16, 64}));
  EXPECT_EQ(fp8.scale.shape(), (Shape{16, 1}));
  EXPECT_EQ(fp8.activation.kind, ActivationQuant::Kind::kFloat8Dynamic);
  EXPECT_EQ(fp8.activation.scale_dtype, DType::kFloat32);
}

TEST(Int4PreshuffledTensor, RefusesWhatTheOrderCannotHold) {
  EXPECT_THAT(error_of([] { quantized(24, 64, 32, DType::kBFloat16); }).second,
              HasSubstr("rows in 16s and columns in 16s"));
  EXPECT_EQ(error_of([] { quantized(16, 48, 16, DType::kBFloat16); }).first, "no error");
  EXPECT_THAT(error_of([] { quantized(16, 48, 16, DType::kFloat8E4M3FN); }).second,
              HasSubstr("[16, 48]: the order for float8_e4m3fn activations takes rows in 16s and "
                        "columns in 32s"));
  EXPECT_THROW(quantized(16, 64, 48, DType::kBFloat16), ShapeError);
  EXPECT_THROW(quantized(16, 64, 1, DType::kBFloat16), ShapeError);
  EXPECT_THROW(quantized(16, 64, 32, DType::kInt8), UnsupportedError);
}

TEST(Int4PreshuffledTensor, RefusesPartsThatDoNotFit) {
  const TensorParts good = quantized(16, 64, 32, DType::kFloat8E4M3FN)->to_parts();
  EXPECT_EQ(parts_kind(good), "no error");
  TensorParts bad = good;
  bad.attributes = R"({"block_size": [1, 32], "shape": [16, 32]})";
  EXPECT_EQ(parts_kind(bad), "ao.shape_mismatch");
  bad.attributes = R"({"block_size": [16, 32], "shape": [16, 64]})";
  EXPECT_EQ(parts_kind(bad), "ao.shape_mismatch");
  bad = good;
  part(bad, "group_scale") = Tensor::zeros(DType::kFloat8E4M3FN, {2, 16, 8});
  EXPECT_EQ(parts_kind(bad), "ao.shape_mismatch");
  part(bad, "group_scale") = Tensor::zeros(DType::kBFloat16, {2, 16});
  EXPECT_EQ(parts_kind(bad), "ao.dtype_mismatch");
  bad = good;
  bad.parts.emplace_back("group_zero", Tensor::zeros(DType::kBFloat16, {2, 16}));
  EXPECT_EQ(parts_kind(bad), "ao.missing_data");
  bad = good;
  bad.parts.erase(bad.parts.begin());  // row_scale
  EXPECT_EQ(parts_kind(bad), "ao.missing_data");
  bad = good;
  bad.attributes = R"({"block_size": [1, 32], "shape": [8, 64]})";
  part(bad, "qdata") = Tensor::zeros(DType::kInt8, {8, 32});
  EXPECT_EQ(parts_kind(bad), "ao.shape_mismatch");
}

TEST(Int4PreshuffledTensor, SlicesAndStacksKeepValues) {
  for (const DType activation : kActivations) {
    const WeightTensorPtr w = quantized(64, 128, 64, activation);
    const Tensor dequant = w->dequantize();
    // Through the stored form, so that the slices are shuffled anew.
    const auto stored = [](const WeightTensorPtr& slice) {
      return Int4PreshuffledTensor::from_parts(slice->to_parts(), "w");
    };
    EXPECT_TRUE(equal_bytes(stored(w->slice(0, 16, 48))->dequantize(), dequant.narrow(0, 16, 32)));
    EXPECT_TRUE(equal_bytes(stored(w->slice(1, 64, 128))->dequantize(), dequant.narrow(1, 64, 64)));
    EXPECT_TRUE(equal_bytes(stored(w->slice(1, 0, 32))->dequantize(), dequant.narrow(1, 0, 32)));
    EXPECT_THROW(w->slice(0, 8, 24), ShapeError);
    EXPECT_THROW(w->slice(1, 32, 96), ShapeError);
    EXPECT_THROW(w->slice(1, 8, 24), ShapeError);
    const auto stacked =
        w->concat_rows(std::vector<WeightTensorPtr>{w->slice(0, 0, 16), w->slice(0, 16, 64)});
    ASSERT_NE(stacked, nullptr);
    EXPECT_TRUE(equal_bytes(stacked->dequantize(), dequant));
    const auto other = quantized(64, 128, 32, activation);
    EXPECT_EQ(w->concat_rows(std::vector<WeightTensorPtr>{w, other}), nullptr);
  }
  const auto bf16 = quantized(16, 64, 64, DType::kBFloat16);
  const auto fp8 = quantized(16, 64, 64, DType::kFloat8E4M3FN);
  EXPECT_EQ(bf16->concat_rows(std::vector<WeightTensorPtr>{bf16, fp8}), nullptr);
}

}  // namespace
}  // namespace torchao_cpp
