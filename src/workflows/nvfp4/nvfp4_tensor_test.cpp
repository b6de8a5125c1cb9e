// SPDX-License-Identifier: Apache-2.0
#include "workflows/nvfp4/nvfp4_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/blocked_scales.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// As torchao 0.18 writes it into a checkpoint.
constexpr const char* kWeightOnlyAttributes =
    R"({"is_swizzled_scales": true, "use_triton_kernel": false, "act_quant_kwargs": null, "block_size": 16, )"
    R"("orig_dtype": {"_type": "torch.dtype", "_data": "bfloat16"}})";

Tensor wave(std::int64_t n, std::int64_t k, DType dtype = DType::kBFloat16) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

NVFP4Attributes attributes(bool is_swizzled_scales, bool is_dynamic = false) {
  NVFP4Attributes a;
  a.is_swizzled_scales = is_swizzled_scales;
  if (is_dynamic)
    a.act_quant_kwargs = QuantizeTensorToNVFP4Kwargs{16, is_swizzled_scales, false, true};
  return a;
}

WeightTensorPtr quantized(std::int64_t n, std::int64_t k, bool two_levels = true,
                          bool is_swizzled_scales = true) {
  return NVFP4Tensor::from_hp(wave(n, k), two_levels, attributes(is_swizzled_scales));
}

std::string read_kind(const TensorParts& parts) {
  try {
    NVFP4Tensor::from_parts(parts, "w");
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

TensorParts with_text(TensorParts parts, std::string_view from, std::string_view to) {
  const std::size_t at = parts.attributes.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  parts.attributes.replace(at, from.size(), to);
  return parts;
}

TEST(NVFP4Tensor, WritesTorchaosAttributesAndPartOrder) {
  const TensorParts parts = quantized(64, 64)->to_parts();
  EXPECT_EQ(parts.attributes, kWeightOnlyAttributes);
  ASSERT_EQ(parts.parts.size(), 3u);
  EXPECT_EQ(parts.parts[0].first, "per_tensor_scale");
  EXPECT_EQ(parts.parts[0].second.shape(), Shape{});
  EXPECT_EQ(parts.parts[1].first, "qdata");
  EXPECT_EQ(parts.find("qdata").shape(), (Shape{64, 32}));
  EXPECT_EQ(parts.find("scale").dtype(), DType::kFloat8E4M3FN);
  EXPECT_EQ(parts.find("scale").shape(), (Shape{32, 16}));
  EXPECT_EQ(quantized(64, 64, false)->to_parts().parts.size(), 2u);
}

TEST(NVFP4Tensor, ValuesAreWithinHalfAStep) {
  for (const bool two_levels : {false, true}) {
    const Tensor w = wave(16, 64, DType::kFloat32);
    const Tensor back = NVFP4Tensor::from_hp(w, two_levels, attributes(false))->dequantize();
    // The widest step of fp4 is 2 of 6 units of the block maximum, 0.3.
    for (std::int64_t i = 0; i < w.numel(); ++i)
      ASSERT_NEAR(back.data<float>()[i], w.data<float>()[i], 0.06f);
  }
}

TEST(NVFP4Tensor, RoundTripsThroughParts) {
  const float act = 0.5f;
  NVFP4Attributes a = attributes(true, true);
  a.act_quant_kwargs->use_dynamic_per_tensor_scale = false;
  a.use_triton_kernel = true;
  const auto w = NVFP4Tensor::from_hp(wave(130, 64), true, a,
                                      Tensor::from_values<float>(DType::kFloat32, {}, {&act, 1}));
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(parts.parts[1].first, "act_per_tensor_scale");
  const auto again = NVFP4Tensor::from_parts(parts, "w");
  EXPECT_EQ(again->to_parts().attributes, parts.attributes);
  EXPECT_TRUE(equal_bytes(again->dequantize(), w->dequantize()));
  const QuantizedWeight q = again->to_quantized_weight();
  EXPECT_EQ(*q.activation.scale.data<float>(), 0.5f);
  EXPECT_FALSE(q.activation.use_dynamic_per_tensor_scale);
}

TEST(NVFP4Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good = quantized(64, 64)->to_parts();
  EXPECT_EQ(read_kind(good), "no error");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kFloat8E4M3FN, {64, 4}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kUInt8, {32, 16}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kInt8, {64, 32}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kUInt8, {64, 31}))),
            "ao.shape_mismatch");
  EXPECT_EQ(
      read_kind(replaced(good, "per_tensor_scale", Tensor::zeros(DType::kFloat32, {2, 1, 1}))),
      "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "per_tensor_scale", Tensor::zeros(DType::kBFloat16, {}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"block_size\": 16", "\"block_size\": 32")),
            "ao.metadata_invalid");
  EXPECT_EQ(
      read_kind(with_text(good, "\"is_swizzled_scales\": true", "\"is_swizzled_scales\": \"yes\"")),
      "ao.metadata_invalid");
  EXPECT_EQ(
      read_kind(with_text(good, "\"is_swizzled_scales\": true", "\"is_swizzled_scales\": false")),
      "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"act_quant_kwargs\": null",
                                "\"act_quant_kwargs\": {\"_type\": \"X\", \"_data\": {}}")),
            "ao.unsupported_type");
  TensorParts no_scale = good;
  no_scale.parts.pop_back();
  EXPECT_EQ(read_kind(no_scale), "ao.missing_data");
}

TEST(NVFP4Tensor, CanonicalFormFollowsTheArithmetic) {
  const auto w = quantized(130, 64);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.scale.shape(), (Shape{130, 4}));
  EXPECT_TRUE(equal_bytes(to_blocked(q.scale), w->to_parts().find("scale")));
  EXPECT_EQ(q.per_tensor_scale.shape(), (Shape{1}));
  EXPECT_EQ(q.bias_rounding, BiasRounding::kFused);
  const QuantizedWeight dynamic =
      NVFP4Tensor::from_hp(wave(16, 32), true, attributes(true, true))->to_quantized_weight();
  EXPECT_EQ(dynamic.activation.kind, ActivationQuant::Kind::kNVFP4Dynamic);
  EXPECT_TRUE(dynamic.activation.use_dynamic_per_tensor_scale);
  EXPECT_EQ(dynamic.bias_rounding, BiasRounding::kSeparate);
}

TEST(NVFP4Tensor, SlicesRowsAndWholeBlocks) {
  const auto w = quantized(300, 128);
  const Tensor whole = w->dequantize();
  EXPECT_TRUE(equal_bytes(w->slice(0, 5, 135)->dequantize(), whole.narrow(0, 5, 130)));
  EXPECT_TRUE(equal_bytes(w->slice(1, 16, 96)->dequantize(), whole.narrow(1, 16, 80)));
  EXPECT_EQ(read_kind(w->slice(1, 16, 96)->to_parts()), "no error");
  EXPECT_THROW(w->slice(1, 8, 64), ShapeError);
  EXPECT_THROW(w->slice(1, 64, 64), ShapeError);
}

TEST(NVFP4Tensor, StacksRowsOnlyUnderOneTensorScale) {
  const auto one = quantized(20, 64, false);
  const std::vector<WeightTensorPtr> one_level{one, quantized(12, 64, false)};
  const auto stacked = one->concat_rows(one_level);
  ASSERT_NE(stacked, nullptr);
  EXPECT_EQ(stacked->shape(), (Shape{32, 64}));
  const auto two = quantized(20, 64);
  const std::vector<WeightTensorPtr> same_scale{two, two->slice(0, 3, 9)};
  const auto shared = two->concat_rows(same_scale);
  ASSERT_NE(shared, nullptr);
  EXPECT_TRUE(
      equal_bytes(shared->dequantize().narrow(0, 20, 6), two->dequantize().narrow(0, 3, 6)));
  Tensor larger = wave(20, 64, DType::kFloat32);
  larger.mutable_data<float>()[0] = 3.0f;
  const std::vector<WeightTensorPtr> other_scale{
      two, NVFP4Tensor::from_hp(larger.to(DType::kBFloat16), true, attributes(true))};
  EXPECT_EQ(two->concat_rows(other_scale), nullptr);
}

TEST(NVFP4Tensor, RefusesWhatCannotBeQuantized) {
  EXPECT_THROW(NVFP4Tensor::from_hp(wave(4, 24), true, attributes(true)), ShapeError);
  EXPECT_THROW(NVFP4Tensor::from_hp(wave(4, 32, DType::kFloat16), true, attributes(true)),
               UnsupportedError);
}

}  // namespace
}  // namespace torchao_cpp
