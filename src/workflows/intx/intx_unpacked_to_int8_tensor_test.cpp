// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/intx_unpacked_to_int8_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/float_formats.h"
#include "torchao_cpp/error.h"
#include "workflows/intx/hqq_scale_only.h"

namespace torchao_cpp {
namespace {

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

IntxOptions options(DType target, std::int64_t group_size,
                    MappingType mapping = MappingType::kSymmetric) {
  IntxOptions o;
  o.target_dtype = target;
  o.group_size = group_size;
  o.mapping_type = mapping;
  return o;
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

TEST(IntxUnpackedToInt8Tensor, WritesTorchaosAttributes) {
  IntxOptions o = options(DType::kInt4, 4);
  o.int8_asym_per_token = true;
  const TensorParts parts =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kBFloat16, 2, 8), o)->to_parts();
  EXPECT_EQ(
      parts.attributes,
      R"({"target_dtype": {"_type": "torch.dtype", "_data": "int4"}, "block_size": [1, 4], "dtype": {"_type": "torch.dtype", "_data": "bfloat16"}, )"
      R"("activation_quantization": "int8_asym_per_token"})");
  ASSERT_EQ(parts.parts.size(), 3U);
  EXPECT_EQ(parts.parts[0].first, "qdata");
  EXPECT_EQ(parts.parts[1].first, "scale");
  EXPECT_EQ(parts.parts[2].first, "zero_point");
}

TEST(IntxUnpackedToInt8Tensor, CodesStayInTheRangeOfEveryWidth) {
  for (const DType target : {DType::kInt1, DType::kInt2, DType::kInt3, DType::kInt4, DType::kInt5,
                             DType::kInt6, DType::kInt7, DType::kInt8}) {
    const QuantRange range = signed_quant_range(*signed_int_bits(target));
    for (const MappingType mapping : {MappingType::kSymmetric, MappingType::kAsymmetric}) {
      const auto w = IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 4, 32),
                                                       options(target, 8, mapping));
      for (const std::int8_t q : w->to_parts().find("qdata").span<std::int8_t>()) {
        EXPECT_GE(q, range.min);
        EXPECT_LE(q, range.max);
      }
      EXPECT_EQ(w->to_quantized_weight().weight_dtype, target);
    }
  }
}

TEST(IntxUnpackedToInt8Tensor, OtherScaleDtypeRecomputesTheCodes) {
  IntxOptions o = options(DType::kInt4, 8);
  o.scale_dtype = DType::kBFloat16;
  const TensorParts parts =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 2, 16), o)->to_parts();
  EXPECT_EQ(parts.find("scale").dtype(), DType::kBFloat16);
  const Tensor codes = quantize_affine(wave(DType::kFloat32, 2, 16), {1, 8}, parts.find("scale"),
                                       parts.find("zero_point"), {-8, 7});
  EXPECT_TRUE(equal_bytes(parts.find("qdata"), codes));
}

double squared_error(const Tensor& w, const Tensor& codes, const Tensor& scale,
                     std::int64_t group_size) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const double d =
        static_cast<double>(w.data<float>()[i]) -
        static_cast<double>(codes.data<std::int8_t>()[i]) * scale.data<float>()[i / group_size];
    sum += d * d;
  }
  return sum;
}

TEST(IntxUnpackedToInt8Tensor, HqqKeepsWeightsThatLieOnItsGrid) {
  Tensor w = Tensor::empty(DType::kFloat32, {1, 16});
  auto v = w.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = 0.5f * (static_cast<float>(i) - 8.0f);
  const HqqScaleOnly q = quantize_hqq_scale_only(w, 16, {-8, 7});
  EXPECT_EQ(q.scale.data<float>()[0], 0.5f);
  EXPECT_EQ(squared_error(w, q.qdata, q.scale, 16), 0.0);
}

TEST(IntxUnpackedToInt8Tensor, HqqFitsBetterThanTheAffineScale) {
  const Tensor w = wave(DType::kFloat32, 4, 64);
  const HqqScaleOnly q = quantize_hqq_scale_only(w, 32, {-4, 3});
  const AffineQParams affine = choose_qparams_affine(w, {1, 32}, MappingType::kSymmetric, {-4, 3});
  const Tensor codes = quantize_affine(w, {1, 32}, affine.scale, affine.zero_point, {-4, 3});
  EXPECT_LT(squared_error(w, q.qdata, q.scale, 32), squared_error(w, codes, affine.scale, 32));
}

TEST(IntxUnpackedToInt8Tensor, HqqBoundsTheScaleOfZeroGroups) {
  const HqqScaleOnly q =
      quantize_hqq_scale_only(Tensor::zeros(DType::kFloat32, {1, 8}), 8, {-8, 7});
  EXPECT_EQ(q.scale.data<float>()[0], 0x1p-23f);
}

TEST(IntxUnpackedToInt8Tensor, RefusesGroupsThatDoNotDivideK) {
  try {
    IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 2, 128), options(DType::kInt4, 48));
    FAIL();
  } catch (const ShapeError& e) {
    EXPECT_STREQ(e.what(),
                 "Expecting input size at 1 dimension: 128 to be divisible by block_size at 1 "
                 "dimension: 48");
  }
}

TEST(IntxUnpackedToInt8Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 2, 8), options(DType::kInt4, 4))
          ->to_parts();
  const auto kind = [](const TensorParts& parts) {
    return kind_of([&] { IntxUnpackedToInt8Tensor::from_parts(parts, "w"); });
  };
  EXPECT_EQ(kind(good), "no error");
  TensorParts missing = good;
  missing.parts.pop_back();
  EXPECT_EQ(kind(missing), "ao.missing_data");
  TensorParts wrong_zero = good;
  wrong_zero.parts[2].second = Tensor::zeros(DType::kInt32, {2, 2});
  EXPECT_EQ(kind(wrong_zero), "ao.dtype_mismatch");
  TensorParts float_zero = good;
  float_zero.parts[2].second = Tensor::zeros(DType::kBFloat16, {2, 2});
  EXPECT_EQ(kind(float_zero), "no error");
  TensorParts wrong_target = good;
  wrong_target.attributes.replace(wrong_target.attributes.find("int4"), 4, "int9");
  EXPECT_EQ(kind(wrong_target), "ao.metadata_invalid");
}

TEST(IntxUnpackedToInt8Tensor, FloatZeroPointIsSubtractedBeforeScaling) {
  TensorParts parts =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 1, 4), options(DType::kInt4, 4))
          ->to_parts();
  const std::vector<std::int8_t> q{1, 2, 3, -4};
  const std::vector<float> s{2.0f};
  const std::vector<float> z{0.5f};
  parts.parts[0].second = Tensor::from_values<std::int8_t>(DType::kInt8, {1, 4}, q);
  parts.parts[1].second = Tensor::from_values<float>(DType::kFloat32, {1, 1}, s);
  parts.parts[2].second = Tensor::from_values<float>(DType::kFloat32, {1, 1}, z);
  const auto w = IntxUnpackedToInt8Tensor::from_parts(parts, "w");
  const Tensor d = w->dequantize();
  EXPECT_EQ(d.data<float>()[0], 1.0f);
  EXPECT_EQ(d.data<float>()[3], -9.0f);
  EXPECT_EQ(w->to_quantized_weight().zero_point_domain, ZeroPointDomain::kInt);
}

TEST(IntxUnpackedToInt8Tensor, CodesOutsideTheTargetAreNotCalledNarrow) {
  TensorParts parts =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kFloat32, 1, 4), options(DType::kInt4, 4))
          ->to_parts();
  const std::vector<std::int8_t> q{1, 2, 3, 90};
  parts.parts[0].second = Tensor::from_values<std::int8_t>(DType::kInt8, {1, 4}, q);
  EXPECT_EQ(IntxUnpackedToInt8Tensor::from_parts(parts, "w")->to_quantized_weight().weight_dtype,
            DType::kInt8);
}

TEST(IntxUnpackedToInt8Tensor, SlicesAndStacksKeepValues) {
  const auto w = IntxUnpackedToInt8Tensor::from_hp(
      wave(DType::kBFloat16, 4, 16), options(DType::kInt4, 8, MappingType::kAsymmetric));
  const Tensor dequant = w->dequantize();
  EXPECT_TRUE(equal_bytes(w->slice(1, 8, 16)->dequantize(), dequant.narrow(1, 8, 8)));
  EXPECT_THROW(w->slice(1, 4, 12), ShapeError);
  const auto stacked =
      w->concat_rows(std::vector<WeightTensorPtr>{w->slice(0, 0, 1), w->slice(0, 1, 4)});
  ASSERT_NE(stacked, nullptr);
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), dequant));
  const auto other =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kBFloat16, 4, 16), options(DType::kInt3, 8));
  EXPECT_EQ(w->concat_rows(std::vector<WeightTensorPtr>{w, other}), nullptr);
}

TEST(IntxUnpackedToInt8Tensor, CanonicalFormOf8da4w) {
  IntxOptions o = options(DType::kInt4, 8);
  o.int8_asym_per_token = true;
  const QuantizedWeight q =
      IntxUnpackedToInt8Tensor::from_hp(wave(DType::kBFloat16, 4, 16), o)->to_quantized_weight();
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kInt8AsymPerToken);
  EXPECT_EQ(q.bias_rounding, BiasRounding::kFused);
  EXPECT_EQ(q.zero_point_domain, ZeroPointDomain::kNone);
  EXPECT_EQ(q.codes_per_byte, 1);
}

}  // namespace
}  // namespace torchao_cpp
