// SPDX-License-Identifier: Apache-2.0
#include "workflows/int8/int8_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr const char* kDynamicAttributes =
    R"({"act_quant_kwargs": {"_type": "QuantizeTensorToInt8Kwargs", "_data": {"granularity": {"_type": "PerRow", "_data": {"dim": -1}}, )"
    R"("mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"}, "reduce_range": false}}, "reduce_range": false, )"
    R"("block_size": [1, 8], "dtype": {"_type": "torch.dtype", "_data": "bfloat16"}})";

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

Int8Options weight_only(Granularity granularity) {
  Int8Options options;
  options.granularity = std::move(granularity);
  return options;
}

Int8Options dynamic(MappingType mapping) {
  Int8Options options;
  options.act_quant_kwargs = QuantizeTensorToInt8Kwargs{PerRow{}, mapping, false};
  return options;
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

TensorParts replaced(TensorParts parts, std::string_view name, Tensor tensor) {
  for (auto& [part_name, part] : parts.parts) {
    if (part_name == name) part = std::move(tensor);
  }
  return parts;
}

TensorParts without(TensorParts parts, std::string_view name) {
  std::erase_if(parts.parts, [&](const auto& part) { return part.first == name; });
  return parts;
}

std::vector<std::string> part_names(const TensorParts& parts) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : parts.parts) names.push_back(name);
  return names;
}

TEST(Int8Tensor, WritesTorchaosAttributesAndPartOrder) {
  const auto w =
      Int8Tensor::from_hp(wave(DType::kBFloat16, 4, 8), dynamic(MappingType::kSymmetric));
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(parts.class_name, "Int8Tensor");
  EXPECT_EQ(parts.attributes, kDynamicAttributes);
  EXPECT_EQ(part_names(parts), (std::vector<std::string>{"zero_point", "qdata", "scale"}));
  EXPECT_EQ(parts.find("scale").dtype(), DType::kFloat32);
}

TEST(Int8Tensor, RoundTripsThroughParts) {
  const auto w = Int8Tensor::from_hp(wave(DType::kFloat16, 4, 8), weight_only(PerGroup{4}));
  const TensorParts parts = w->to_parts();
  const auto again = Int8Tensor::from_parts(parts, "w");
  EXPECT_EQ(again->to_parts().attributes, parts.attributes);
  EXPECT_TRUE(equal_bytes(again->dequantize(), w->dequantize()));
  EXPECT_EQ(again->shape(), (Shape{4, 8}));
  EXPECT_EQ(again->dtype(), DType::kFloat16);
}

TEST(Int8Tensor, ReadsFilesOfOlderVersions) {
  const auto w = Int8Tensor::from_hp(wave(DType::kBFloat16, 4, 8), weight_only(PerRow{}));
  TensorParts old = without(w->to_parts(), "zero_point");
  old = replaced(old, "scale", old.find("scale").to(DType::kBFloat16));
  old.attributes =
      R"({"act_quant_kwargs": {"_type": "QuantizeTensorToInt8Kwargs", "_data": {"granularity": {"_type": "PerRow", "_data": {}}, )"
      R"("mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"}}}, "block_size": [1, 8], )"
      R"("dtype": {"_type": "torch.dtype", "_data": "bfloat16"}})";
  const auto read = Int8Tensor::from_parts(old, "w");
  EXPECT_TRUE(equal_bytes(read->dequantize(), w->dequantize()));
  EXPECT_EQ(read->to_quantized_weight().scale.dtype(), DType::kFloat32);
  EXPECT_EQ(read->to_parts().attributes, kDynamicAttributes);
}

TEST(Int8Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good =
      Int8Tensor::from_hp(wave(DType::kFloat32, 4, 8), weight_only(PerRow{}))->to_parts();
  const auto kind = [](const TensorParts& parts) {
    return kind_of([&] { Int8Tensor::from_parts(parts, "w"); });
  };
  EXPECT_EQ(kind(good), "no error");
  EXPECT_EQ(kind(without(good, "scale")), "ao.missing_data");
  EXPECT_EQ(kind(without(good, "zero_point")), "no error");
  EXPECT_EQ(kind(replaced(good, "scale", Tensor::zeros(DType::kFloat32, {4}))),
            "ao.shape_mismatch");
  EXPECT_EQ(kind(replaced(good, "scale", Tensor::zeros(DType::kInt8, {4, 1}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(kind(replaced(good, "zero_point", Tensor::zeros(DType::kInt8, {4, 2}))),
            "ao.shape_mismatch");
  EXPECT_EQ(kind(replaced(good, "qdata", Tensor::zeros(DType::kUInt8, {4, 8}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(kind(replaced(good, "qdata", Tensor::zeros(DType::kInt8, {32}))), "ao.shape_mismatch");
  TensorParts zero_point_alone = good;
  zero_point_alone.parts.emplace_back("act_quant_zero_point", Tensor::zeros(DType::kInt8, {1, 1}));
  EXPECT_EQ(kind(zero_point_alone), "ao.missing_data");
  TensorParts bad = good;
  bad.attributes = R"({"block_size": [1, 8]})";
  EXPECT_EQ(kind(bad), "ao.metadata_invalid");
}

TEST(Int8Tensor, ReduceRangeHalvesTheCodes) {
  Int8Options options = weight_only(PerRow{});
  options.reduce_range = true;
  const auto w = Int8Tensor::from_hp(wave(DType::kFloat32, 4, 8), options);
  for (const std::int8_t q : w->to_parts().find("qdata").span<std::int8_t>()) {
    EXPECT_GE(q, -64);
    EXPECT_LE(q, 63);
  }
}

TEST(Int8Tensor, RefusesGroupsThatDoNotDivideK) {
  try {
    Int8Tensor::from_hp(wave(DType::kFloat32, 4, 8), weight_only(PerGroup{3}));
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(), "Last dimension of input 8 is not divisible by group size 3");
  }
}

TEST(Int8Tensor, CanonicalFormFollowsTheArithmetic) {
  const Tensor w = wave(DType::kBFloat16, 4, 8);
  const QuantizedWeight row = Int8Tensor::from_hp(w, weight_only(PerRow{}))->to_quantized_weight();
  EXPECT_TRUE(row.scale_after_product);
  EXPECT_EQ(row.bias_rounding, BiasRounding::kSeparate);
  EXPECT_EQ(row.zero_point_domain, ZeroPointDomain::kNone);
  EXPECT_EQ(row.activation.kind, ActivationQuant::Kind::kNone);
  const QuantizedWeight group =
      Int8Tensor::from_hp(w, weight_only(PerGroup{4}))->to_quantized_weight();
  EXPECT_FALSE(group.scale_after_product);
  EXPECT_EQ(group.block_size, (std::array<std::int64_t, 2>{1, 4}));
  const QuantizedWeight dyn =
      Int8Tensor::from_hp(w, dynamic(MappingType::kAsymmetric))->to_quantized_weight();
  EXPECT_FALSE(dyn.scale_after_product);
  EXPECT_EQ(dyn.bias_rounding, BiasRounding::kFused);
  EXPECT_EQ(dyn.activation.kind, ActivationQuant::Kind::kInt8Dynamic);
  EXPECT_EQ(dyn.activation.mapping_type, MappingType::kAsymmetric);
  Int8Options fixed = dynamic(MappingType::kSymmetric);
  fixed.act_quant_scale = Tensor::zeros(DType::kFloat32, {1, 1});
  EXPECT_EQ(Int8Tensor::from_hp(w, fixed)->to_quantized_weight().activation.kind,
            ActivationQuant::Kind::kInt8Static);
}

TEST(Int8Tensor, SlicesEqualSlicesOfTheDequantizedWeight) {
  for (const Granularity& g :
       {Granularity(PerRow{}), Granularity(PerTensor{}), Granularity(PerGroup{4})}) {
    const auto w = Int8Tensor::from_hp(wave(DType::kBFloat16, 6, 16), weight_only(g));
    const Tensor dequant = w->dequantize();
    EXPECT_TRUE(equal_bytes(w->slice(0, 1, 4)->dequantize(), dequant.narrow(0, 1, 3)))
        << to_string(g);
    EXPECT_TRUE(equal_bytes(w->slice(1, 4, 12)->dequantize(), dequant.narrow(1, 4, 8)))
        << to_string(g);
    EXPECT_NO_THROW(Int8Tensor::from_parts(w->slice(1, 4, 12)->to_parts(), "w")) << to_string(g);
  }
  const auto grouped = Int8Tensor::from_hp(wave(DType::kBFloat16, 6, 16), weight_only(PerGroup{4}));
  EXPECT_THROW(grouped->slice(1, 2, 6), ShapeError);
  EXPECT_THROW(grouped->slice(0, 4, 7), ShapeError);
  EXPECT_THROW(grouped->slice(2, 0, 1), ShapeError);
}

TEST(Int8Tensor, ColumnSliceTakesItsPartOfActPreScale) {
  TensorParts parts =
      Int8Tensor::from_hp(wave(DType::kFloat32, 2, 4), weight_only(PerRow{}))->to_parts();
  const std::vector<float> factors{1.0f, 2.0f, 3.0f, 4.0f};
  parts.parts.emplace_back("act_pre_scale",
                           Tensor::from_values<float>(DType::kFloat32, {4}, factors));
  const auto w = Int8Tensor::from_parts(parts, "w");
  const QuantizedWeight q = w->slice(1, 2, 4)->to_quantized_weight();
  ASSERT_EQ(q.act_pre_scale.shape(), (Shape{2}));
  EXPECT_EQ(q.act_pre_scale.data<float>()[0], 3.0f);
  EXPECT_EQ(w->slice(0, 0, 1)->to_quantized_weight().act_pre_scale.shape(), (Shape{4}));
}

TEST(Int8Tensor, ConcatRowsStacksOnlyWhatKeepsEveryValue) {
  const Tensor a = wave(DType::kBFloat16, 2, 8);
  const Tensor b = wave(DType::kBFloat16, 3, 8);
  const auto wa = Int8Tensor::from_hp(a, weight_only(PerRow{}));
  const auto wb = Int8Tensor::from_hp(b, weight_only(PerRow{}));
  const std::vector<WeightTensorPtr> parts{wa, wb};
  const auto stacked = wa->concat_rows(parts);
  ASSERT_NE(stacked, nullptr);
  const std::vector<Tensor> dequant{wa->dequantize(), wb->dequantize()};
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), concat_rows(dequant)));
  const auto per_tensor = Int8Tensor::from_hp(a, weight_only(PerTensor{}));
  EXPECT_EQ(per_tensor->concat_rows(std::vector<WeightTensorPtr>{per_tensor, per_tensor}), nullptr);
  const auto other = Int8Tensor::from_hp(b, dynamic(MappingType::kSymmetric));
  EXPECT_EQ(wa->concat_rows(std::vector<WeightTensorPtr>{wa, other}), nullptr);
}

}  // namespace
}  // namespace torchao_cpp
