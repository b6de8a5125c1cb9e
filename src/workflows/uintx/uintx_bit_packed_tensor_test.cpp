// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/uintx_bit_packed_tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/json.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "workflows/uintx/gemlite_packing.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;

Tensor wave(std::int64_t n, std::int64_t k, DType dtype = DType::kFloat16) {
  Tensor out = Tensor::empty(DType::kFloat32, {n, k});
  auto* to = out.mutable_data<float>();
  for (std::int64_t i = 0; i < out.numel(); ++i)
    to[i] = 0.1f * std::sin(static_cast<float>(i * i % 1009));
  return out.to(dtype);
}

WeightTensorPtr quantized(std::int64_t n, std::int64_t k, const UIntxOptions& options) {
  return UIntxBitPackedTensor::from_hp(wave(n, k), options);
}

std::string error_of(const TensorParts& parts) {
  try {
    weight_from_parts(parts, "w");
  } catch (const CheckpointError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

TensorParts with_kwargs(const TensorParts& parts, const std::string& name, const Json& value) {
  TensorParts out = parts;
  Json attributes = Json::parse(parts.attributes);
  attributes["gemlite_kwargs"][name] = value;
  out.attributes = attributes.dump();
  return out;
}

TEST(GemlitePacking, PutsTheFirstColumnIntoTheLowestBits) {
  std::vector<std::int8_t> values(2 * 8);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int8_t>(i);
  const Tensor codes = Tensor::from_values<std::int8_t>(DType::kInt8, {2, 8}, values);
  const Tensor words = pack_gemlite_int4(codes, 8);
  EXPECT_EQ(words.shape(), (Shape{1, 2}));
  EXPECT_EQ(words.data<std::uint32_t>()[0], 0x76543210u);
  EXPECT_EQ(words.data<std::uint32_t>()[1], 0xFEDCBA98u);
  const Tensor halves = pack_gemlite_int4(codes, 4);
  EXPECT_EQ(halves.shape(), (Shape{2, 2}));
  EXPECT_EQ(halves.data<std::uint16_t>()[1], 0xBA98u);  // row 1, columns 0 to 3
  EXPECT_EQ(halves.data<std::uint16_t>()[2], 0x7654u);
  for (const std::int64_t e : {2, 4, 8})
    EXPECT_TRUE(equal_bytes(unpack_gemlite_int4(pack_gemlite_int4(codes, e)), codes)) << e;
}

TEST(UIntxBitPackedTensor, PartsReadBackAsTheSameWeight) {
  for (const UIntxOptions& options : {UIntxOptions{4, 32, {}, false}, UIntxOptions{4, {}, 8, false},
                                      UIntxOptions{4, 64, 16, true}, UIntxOptions{8, {}, {}, false},
                                      UIntxOptions{8, {}, {}, true}}) {
    const WeightTensorPtr weight = quantized(6, 128, options);
    const TensorParts parts = weight->to_parts();
    const WeightTensorPtr again = weight_from_parts(parts, "w");
    EXPECT_EQ(again->to_parts().attributes, parts.attributes);
    EXPECT_TRUE(equal_bytes(again->dequantize(), weight->dequantize())) << weight->describe();
  }
}

TEST(UIntxBitPackedTensor, GroupsSayHowGemliteMultiplies) {
  const auto mode = [](const UIntxOptions& options) {
    return Json::parse(quantized(4, 128, options)->to_parts().attributes)["gemlite_kwargs"].value(
        "W_group_mode", -1);
  };
  EXPECT_EQ(mode({4, 32, {}, false}), 4);
  EXPECT_EQ(mode({4, 128, {}, false}), 3);  // a group that is the row
  EXPECT_EQ(mode({4, 32, {}, true}), 3);
  EXPECT_EQ(mode({8, {}, {}, false}), 2);
  EXPECT_EQ(mode({8, {}, {}, true}), 0);
}

TEST(UIntxBitPackedTensor, KernelsGetSignedNibblesAndAnAddedZero) {
  const QuantizedWeight w = quantized(4, 64, {4, 32, {}, false})->to_quantized_weight();
  EXPECT_EQ(w.weight_dtype, DType::kInt4);
  EXPECT_EQ(w.codes_per_byte, 2);
  EXPECT_EQ(w.zero_point_domain, ZeroPointDomain::kFloat);
  EXPECT_EQ(w.scale.shape(), (Shape{4, 2}));
  EXPECT_EQ(w.activation.kind, ActivationQuant::Kind::kNone);
  EXPECT_EQ(quantized(4, 64, {4, 32, {}, true})->to_quantized_weight().activation.kind,
            ActivationQuant::Kind::kFloat8Dynamic);
  const QuantizedWeight int8 = quantized(4, 64, {8, {}, {}, true})->to_quantized_weight();
  EXPECT_EQ(int8.activation.kind, ActivationQuant::Kind::kInt8Dynamic);
  EXPECT_EQ(int8.scale.dtype(), DType::kFloat32);
  EXPECT_EQ(int8.qdata.shape(), (Shape{4, 64}));
}

TEST(UIntxBitPackedTensor, SlicesAreSlicesOfTheValues) {
  for (const UIntxOptions& options :
       {UIntxOptions{4, 32, {}, false}, UIntxOptions{4, {}, {}, false},
        UIntxOptions{8, {}, {}, true}}) {
    const WeightTensorPtr weight = quantized(8, 128, options);
    const Tensor values = weight->dequantize();
    EXPECT_TRUE(equal_bytes(weight->slice(0, 2, 5)->dequantize(), values.narrow(0, 2, 3)));
    EXPECT_TRUE(equal_bytes(weight->slice(1, 64, 128)->dequantize(), values.narrow(1, 64, 64)));
    const WeightTensorPtr corner = weight->slice(1, 32, 64)->slice(0, 0, 4);
    EXPECT_EQ(error_of(corner->to_parts()), "no error");
  }
}

TEST(UIntxBitPackedTensor, RefusesSlicesThatCutAGroupOrAnElement) {
  EXPECT_THROW(quantized(4, 128, {4, 32, {}, false})->slice(1, 16, 48), ShapeError);
  EXPECT_THROW(quantized(4, 128, {4, {}, {}, false})->slice(1, 4, 12), ShapeError);
  EXPECT_NO_THROW(quantized(4, 128, {4, {}, 16, false})->slice(1, 4, 12));
}

TEST(UIntxBitPackedTensor, JoinsRowsOfOneForm) {
  const WeightTensorPtr weight = quantized(8, 64, {4, 32, {}, false});
  const std::vector<WeightTensorPtr> parts{weight->slice(0, 0, 3), weight->slice(0, 3, 8)};
  const WeightTensorPtr joined = parts[0]->concat_rows(parts);
  ASSERT_NE(joined, nullptr);
  EXPECT_TRUE(equal_bytes(joined->dequantize(), weight->dequantize()));
  EXPECT_EQ(joined->to_parts().attributes, weight->to_parts().attributes);
  const std::vector<WeightTensorPtr> others{weight, quantized(8, 64, {4, 64, {}, false})};
  EXPECT_EQ(weight->concat_rows(others), nullptr);
}

TEST(UIntxBitPackedTensor, TakesWhatGemliteTakes) {
  EXPECT_THROW(UIntxBitPackedTensor::from_hp(wave(4, 64, DType::kFloat32), {}), UnsupportedError);
  EXPECT_THROW(quantized(4, 96, {4, 64, {}, false}), ShapeError);
  EXPECT_THROW(quantized(4, 48, {8, {}, {}, false}), ShapeError);
}

TEST(UIntxBitPackedTensor, RefusesPartsThatDoNotFit) {
  const TensorParts parts = quantized(4, 64, {4, 32, {}, false})->to_parts();
  EXPECT_THAT(error_of(with_kwargs(parts, "in_features", 128)), HasSubstr("ao.shape_mismatch"));
  EXPECT_THAT(error_of(with_kwargs(parts, "W_group_mode", 2)), HasSubstr("ao.metadata_invalid"));
  EXPECT_THAT(error_of(with_kwargs(parts, "elements_per_sample", 4)),
              HasSubstr("ao.shape_mismatch"));
  EXPECT_THAT(error_of(with_kwargs(parts, "kernel", 1)), HasSubstr("unexpected field 'kernel'"));
  EXPECT_THAT(error_of(with_kwargs(parts, "meta_args", Json::array({1}))),
              HasSubstr("no list of 12"));
  Json meta_args = Json::parse(parts.attributes)["gemlite_kwargs"]["meta_args"];
  meta_args[GemliteKwargs::kScaledActivations] = 1;
  meta_args[GemliteKwargs::kInputDType] = 4;
  EXPECT_THAT(error_of(with_kwargs(parts, "meta_args", meta_args)),
              HasSubstr("4-bit weights take float8_e4m3fn"));
  TensorParts wrong = parts;
  wrong.parts[1].second = Tensor::zeros(DType::kFloat16, {4, 2});
  EXPECT_THAT(error_of(wrong), HasSubstr("ao.shape_mismatch"));
}

}  // namespace
}  // namespace torchao_cpp
