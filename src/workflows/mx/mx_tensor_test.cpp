// SPDX-License-Identifier: Apache-2.0
#include "workflows/mx/mx_tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "core/blocked_scales.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// As torchao 0.18 writes it into a checkpoint.
constexpr const char* kMXFP4Attributes =
    R"({"elem_dtype": {"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"}, "block_size": 32, "orig_dtype": {"_type": )"
    R"("torch.dtype", "_data": "bfloat16"}, "kernel_preference": {"_type": "KernelPreference", "_data": "EMULATED"}, )"
    R"("act_quant_kwargs": {"_type": "QuantizeTensorToMXKwargs", "_data": {"elem_dtype": {"_type": "torch.dtype", )"
    R"("_data": "float4_e2m1fn_x2"}, "block_size": 32, "scaling_mode": {"_type": "ScaleCalculationMode", "_data": "RCEIL"}, )"
    R"("kernel_preference": {"_type": "KernelPreference", "_data": "EMULATED"}, "is_swizzled_scales": true}}, )"
    R"("is_swizzled_scales": true})";

constexpr std::array<DType, 5> kElements{DType::kFloat8E4M3FN, DType::kFloat8E5M2,
                                         DType::kFloat6E2M3, DType::kFloat6E3M2,
                                         DType::kFloat4E2M1FNx2};

Tensor wave(std::int64_t n, std::int64_t k, DType dtype = DType::kBFloat16) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

MXAttributes attributes(DType elem_dtype, bool is_swizzled_scales, bool is_dynamic = true) {
  MXAttributes a;
  a.elem_dtype = elem_dtype;
  a.is_swizzled_scales = is_swizzled_scales;
  if (is_dynamic) {
    a.act_quant_kwargs = QuantizeTensorToMXKwargs{elem_dtype, 32, ScaleCalculationMode::kRceil,
                                                  "EMULATED", is_swizzled_scales};
  }
  return a;
}

WeightTensorPtr quantized(DType elem_dtype, std::int64_t n, std::int64_t k,
                          bool is_swizzled_scales = true) {
  return MXTensor::from_hp(wave(n, k), attributes(elem_dtype, is_swizzled_scales),
                           ScaleCalculationMode::kRceil);
}

std::string read_kind(const TensorParts& parts) {
  try {
    MXTensor::from_parts(parts, "w");
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

TEST(MXTensor, WritesTorchaosAttributesAndShapes) {
  const TensorParts fp4 = quantized(DType::kFloat4E2M1FNx2, 64, 96)->to_parts();
  EXPECT_EQ(fp4.attributes, kMXFP4Attributes);
  EXPECT_EQ(fp4.parts[0].first, "qdata");
  EXPECT_EQ(fp4.find("qdata").dtype(), DType::kUInt8);
  EXPECT_EQ(fp4.find("qdata").shape(), (Shape{64, 48}));
  EXPECT_EQ(fp4.find("scale").dtype(), DType::kFloat8E8M0FNU);
  EXPECT_EQ(fp4.find("scale").shape(), (Shape{32, 16}));
  const TensorParts fp6 = quantized(DType::kFloat6E3M2, 64, 96, false)->to_parts();
  EXPECT_EQ(fp6.attributes.rfind(R"({"elem_dtype": "fp6_e3m2", )", 0), 0u);
  EXPECT_EQ(fp6.find("qdata").shape(), (Shape{64, 96}));
  EXPECT_EQ(fp6.find("scale").shape(), (Shape{64, 3}));
  EXPECT_EQ(quantized(DType::kFloat8E5M2, 64, 96)->to_parts().find("qdata").dtype(),
            DType::kFloat8E5M2);
}

TEST(MXTensor, RoundTripsThroughParts) {
  for (const DType element : kElements) {
    const auto w = quantized(element, 130, 64);
    const TensorParts parts = w->to_parts();
    const auto again = MXTensor::from_parts(parts, "w");
    EXPECT_EQ(again->to_parts().attributes, parts.attributes);
    EXPECT_EQ(again->shape(), (Shape{130, 64}));
    EXPECT_TRUE(equal_bytes(again->dequantize(DType::kFloat32), w->dequantize(DType::kFloat32)));
  }
}

TEST(MXTensor, SwizzlingDoesNotChangeValues) {
  for (const DType element : kElements) {
    EXPECT_TRUE(equal_bytes(quantized(element, 130, 64, true)->dequantize(),
                            quantized(element, 130, 64, false)->dequantize()));
  }
}

TEST(MXTensor, DequantizesExactValues) {
  // Block maximum 6: RCEIL gives scale 1 for fp4, and these values are fp4 values.
  const std::vector<float> cycle{0.5f, -6.0f, 3.0f, 0.0f, -1.5f, 4.0f, 2.0f, -1.0f};
  Tensor w = Tensor::empty(DType::kFloat32, {1, 32});
  for (std::size_t i = 0; i < 32; ++i) w.mutable_data<float>()[i] = cycle[i % 8];
  const auto q =
      MXTensor::from_hp(w, attributes(DType::kFloat4E2M1FNx2, false), ScaleCalculationMode::kRceil);
  EXPECT_TRUE(equal_bytes(q->dequantize(), w));
  EXPECT_EQ(q->to_parts().find("scale").data<std::uint8_t>()[0], 127);
  EXPECT_EQ(q->to_parts().find("qdata").data<std::uint8_t>()[0], 0xf1);
}

TEST(MXTensor, RefusesPartsThatDoNotFit) {
  const TensorParts good = quantized(DType::kFloat4E2M1FNx2, 64, 96)->to_parts();
  EXPECT_EQ(read_kind(good), "no error");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kFloat8E8M0FNU, {64, 3}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kUInt8, {32, 16}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kFloat8E4M3FN, {64, 48}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kUInt8, {3072}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"block_size\": 32, \"orig", "\"block_size\": 36, \"orig")),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"block_size\": 32, \"orig", "\"block_size\": 0, \"orig")),
            "ao.shape_mismatch");
  EXPECT_EQ(
      read_kind(with_text(good, "\"block_size\": 32, \"orig", "\"block_size\": [1, 32], \"orig")),
      "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "float4_e2m1fn_x2", "float16")), "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"RCEIL\"", "\"UP\"")), "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "QuantizeTensorToMXKwargs", "QuantizeTensorToInt8Kwargs")),
            "ao.unsupported_type");
  EXPECT_EQ(read_kind(with_text(good, "\"is_swizzled_scales\": true", "\"is_swizzled_scales\": 1")),
            "ao.metadata_invalid");
  TensorParts no_scale = good;
  no_scale.parts.pop_back();
  EXPECT_EQ(read_kind(no_scale), "ao.missing_data");
}

TEST(MXTensor, CanonicalFormHasPlainScales) {
  const auto w = quantized(DType::kFloat4E2M1FNx2, 130, 64);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.codes_per_byte, 2);
  EXPECT_EQ(q.scale.shape(), (Shape{130, 2}));
  EXPECT_EQ(q.block_size, (std::array<std::int64_t, 2>{1, 32}));
  EXPECT_TRUE(equal_bytes(to_blocked(q.scale), w->to_parts().find("scale")));
  EXPECT_EQ(q.bias_rounding, BiasRounding::kFused);
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kMXDynamic);
  EXPECT_EQ(q.activation.block_size, 32);
  const auto plain = MXTensor::from_hp(wave(4, 32), attributes(DType::kFloat8E4M3FN, false, false),
                                       ScaleCalculationMode::kFloor);
  EXPECT_EQ(plain->to_quantized_weight().activation.kind, ActivationQuant::Kind::kNone);
}

TEST(MXTensor, SlicesRowsAndWholeBlocks) {
  for (const DType element : kElements) {
    const auto w = quantized(element, 300, 128);
    const Tensor whole = w->dequantize();
    // torchao wants multiples of 128 here; swizzling the slice again makes any row exact.
    EXPECT_TRUE(equal_bytes(w->slice(0, 5, 135)->dequantize(), whole.narrow(0, 5, 130)));
    EXPECT_TRUE(equal_bytes(w->slice(1, 32, 96)->dequantize(), whole.narrow(1, 32, 64)));
    const auto sliced = w->slice(1, 32, 96)->to_parts();
    EXPECT_EQ(sliced.find("scale").shape(), (Shape{96, 16}));
    EXPECT_THROW(w->slice(1, 16, 64), ShapeError);
    EXPECT_THROW(w->slice(0, 5, 301), ShapeError);
  }
}

TEST(MXTensor, StacksRowsOfEqualAttributes) {
  const auto a = quantized(DType::kFloat8E4M3FN, 20, 64);
  const auto b = quantized(DType::kFloat8E4M3FN, 140, 64);
  const std::vector<WeightTensorPtr> parts{a, b};
  const auto stacked = a->concat_rows(parts);
  ASSERT_NE(stacked, nullptr);
  const std::vector<Tensor> values{a->dequantize(), b->dequantize()};
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), concat_rows(values)));
  EXPECT_EQ(read_kind(stacked->to_parts()), "no error");
  const std::vector<WeightTensorPtr> other{a, quantized(DType::kFloat8E5M2, 20, 64)};
  EXPECT_EQ(a->concat_rows(other), nullptr);
}

TEST(MXTensor, RefusesWhatCannotBeQuantized) {
  const MXAttributes a = attributes(DType::kFloat8E4M3FN, true);
  EXPECT_THROW(MXTensor::from_hp(wave(4, 48), a, ScaleCalculationMode::kFloor), ShapeError);
  EXPECT_THROW(MXTensor::from_hp(wave(4, 32, DType::kFloat16), a, ScaleCalculationMode::kFloor),
               UnsupportedError);
  MXAttributes int8 = a;
  int8.elem_dtype = DType::kInt8;
  EXPECT_THROW(MXTensor::from_hp(wave(4, 32), int8, ScaleCalculationMode::kFloor),
               UnsupportedError);
  MXAttributes odd = attributes(DType::kFloat4E2M1FNx2, false);
  odd.block_size = 3;
  EXPECT_THROW(MXTensor::from_hp(wave(4, 6), odd, ScaleCalculationMode::kFloor), ShapeError);
}

}  // namespace
}  // namespace torchao_cpp
