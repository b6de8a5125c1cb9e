// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/float_formats.h"
#include "torchao_cpp/error.h"
#include "workflows/float8/prototype_float8_tensor.h"

namespace torchao_cpp {
namespace {

// As torchao 0.18 writes it into a checkpoint.
constexpr const char* kDynamicAttributes =
    R"({"block_size": [1, 64], "mm_config": {"_type": "Float8MMConfig", "_data": {"emulate": false, "use_fast_accum": true, )"
    R"("pad_inner_dim": false}}, "act_quant_kwargs": {"_type": "QuantizeTensorToFloat8Kwargs", "_data": {"float8_dtype": )"
    R"({"_type": "torch.dtype", "_data": "float8_e4m3fn"}, "granularity": {"_type": "PerRow", "_data": {"dim": -1}}, )"
    R"("mm_config": null, "hp_value_lb": null, "hp_value_ub": null, "kernel_preference": {"_type": "KernelPreference", )"
    R"("_data": "AUTO"}}}, "kernel_preference": {"_type": "KernelPreference", "_data": "AUTO"}, "dtype": {"_type": )"
    R"("torch.dtype", "_data": "bfloat16"}})";

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<float>(i) * 0.7f) * 0.3f;
  return t.to(dtype);
}

Float8Options options(Granularity granularity) {
  Float8Options o;
  o.granularity = std::move(granularity);
  return o;
}

Float8Options dynamic(Granularity weight, Granularity activation) {
  Float8Options o = options(std::move(weight));
  o.attributes.mm_config = Float8MMConfig{false, true, false};
  o.attributes.act_quant_kwargs = QuantizeTensorToFloat8Kwargs{};
  o.attributes.act_quant_kwargs->granularity = std::move(activation);
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

std::string read_kind(const TensorParts& parts) {
  return kind_of([&] { Float8Tensor::from_parts(parts, "w"); });
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

Tensor joined_rows(const Tensor& a, const Tensor& b) {
  const std::vector<Tensor> both{a, b};
  return concat_rows(both);
}

TEST(Float8Tensor, WritesTorchaosAttributesAndPartOrder) {
  const auto w = Float8Tensor::from_hp(wave(DType::kBFloat16, 32, 64), dynamic(PerRow{}, PerRow{}));
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(parts.class_name, "Float8Tensor");
  EXPECT_EQ(parts.attributes, kDynamicAttributes);
  ASSERT_EQ(parts.parts.size(), 2u);
  EXPECT_EQ(parts.parts[0].first, "qdata");
  EXPECT_EQ(parts.parts[0].second.dtype(), DType::kFloat8E4M3FN);
  EXPECT_EQ(parts.find("scale").shape(), (Shape{32, 1}));
}

TEST(Float8Tensor, DequantizedValuesAreWithinHalfAStep) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (const Granularity& g : {Granularity(PerTensor{}), Granularity(PerRow{}),
                                 Granularity(PerGroup{16}), Granularity(PerBlock{{8, 32}})}) {
      const Tensor w = wave(dtype, 16, 64);
      const Tensor back = Float8Tensor::from_hp(w, options(g))->dequantize(DType::kFloat32);
      for (std::int64_t i = 0; i < w.numel(); ++i) {
        const float v = load_float(dtype, w.bytes(), i);
        ASSERT_NEAR(back.data<float>()[i], v, std::fabs(v) / 15.0f + 1e-4f) << to_string(g);
      }
    }
  }
}

TEST(Float8Tensor, ZeroRowsBecomeNanAsInTorchao) {
  Tensor w = wave(DType::kFloat32, 2, 16);
  for (int k = 0; k < 16; ++k) w.mutable_data<float>()[k] = 0.0f;
  const auto q = Float8Tensor::from_hp(w, options(PerRow{}));
  const Tensor back = q->dequantize();
  EXPECT_EQ(q->to_parts().find("scale").data<float>()[0], 0.0f);
  EXPECT_TRUE(std::isnan(back.data<float>()[0]));
  EXPECT_FALSE(std::isnan(back.data<float>()[16]));
}

TEST(Float8Tensor, RoundTripsThroughParts) {
  Float8Options o = dynamic(PerBlock{{32, 128}}, PerBlock{{1, 128}});
  o.float8_dtype = DType::kFloat8E5M2;
  o.attributes.act_quant_kwargs->hp_value_lb = 0.5;
  o.attributes.kernel_preference = "A_LATER_ONE";
  const auto w = Float8Tensor::from_hp(wave(DType::kFloat16, 64, 256), o);
  const TensorParts parts = w->to_parts();
  const auto again = Float8Tensor::from_parts(parts, "w");
  EXPECT_EQ(again->to_parts().attributes, parts.attributes);
  EXPECT_TRUE(equal_bytes(again->dequantize(), w->dequantize()));
  EXPECT_EQ(again->dtype(), DType::kFloat16);
}

TEST(Float8Tensor, OldFilesLeaveTheBlockSizeToTheShapes) {
  const TensorParts row =
      Float8Tensor::from_hp(wave(DType::kBFloat16, 4, 8), options(PerRow{}))->to_parts();
  const auto read = Float8Tensor::from_parts(
      with_text(row, R"("block_size": [1, 8])", R"("block_size": null)"), "w");
  EXPECT_EQ(read->to_quantized_weight().block_size, (BlockSize{1, 8}));
  const TensorParts tensor =
      Float8Tensor::from_hp(wave(DType::kBFloat16, 4, 8), options(PerTensor{}))->to_parts();
  const auto read_tensor = Float8Tensor::from_parts(
      with_text(tensor, R"("block_size": [4, 8])", R"("block_size": null)"), "w");
  EXPECT_EQ(read_tensor->to_quantized_weight().block_size, (BlockSize{4, 8}));
}

TEST(Float8Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good =
      Float8Tensor::from_hp(wave(DType::kBFloat16, 32, 64), dynamic(PerRow{}, PerRow{}))
          ->to_parts();
  EXPECT_EQ(read_kind(good), "no error");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kFloat32, {32}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "scale", Tensor::zeros(DType::kBFloat16, {32, 1}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kUInt8, {32, 64}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "qdata", Tensor::zeros(DType::kFloat8E4M3FN, {32, 0}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "[1, 64]", "[1, 48]")), "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "[1, 64]", "[0, 64]")), "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"bfloat16\"", "\"int8\"")), "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"PerRow\"", "\"PerAxis\"")), "ao.unsupported_type");
  EXPECT_EQ(read_kind(with_text(good, "\"dim\": -1", "\"dim\": 0")), "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"hp_value_lb\": null", "\"hp_value_lb\": \"x\"")),
            "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"emulate\": false", "\"emulate\": 1")),
            "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"emulate\"", "\"surprise\"")), "ao.metadata_invalid");
  TensorParts no_scale = good;
  no_scale.parts.pop_back();
  EXPECT_EQ(read_kind(no_scale), "ao.missing_data");
}

TEST(Float8Tensor, CanonicalFormFollowsTheArithmetic) {
  const Tensor w = wave(DType::kBFloat16, 128, 256);
  const QuantizedWeight weight_only =
      Float8Tensor::from_hp(w, options(PerGroup{32}))->to_quantized_weight();
  EXPECT_EQ(weight_only.bias_rounding, BiasRounding::kSeparate);
  EXPECT_EQ(weight_only.activation.kind, ActivationQuant::Kind::kNone);
  const QuantizedWeight row =
      Float8Tensor::from_hp(w, dynamic(PerRow{}, PerRow{}))->to_quantized_weight();
  EXPECT_EQ(row.bias_rounding, BiasRounding::kFused);
  EXPECT_EQ(row.activation.kind, ActivationQuant::Kind::kFloat8Dynamic);
  EXPECT_EQ(row.activation.dtype, DType::kFloat8E4M3FN);
  const QuantizedWeight block =
      Float8Tensor::from_hp(w, dynamic(PerBlock{{128, 128}}, PerBlock{{1, 128}}))
          ->to_quantized_weight();
  EXPECT_EQ(block.bias_rounding, BiasRounding::kSeparate);
  EXPECT_EQ(block.scale.shape(), (Shape{1, 2}));
  const auto mixed = Float8Tensor::from_hp(w, dynamic(PerGroup{32}, PerRow{}));
  EXPECT_THROW(mixed->to_quantized_weight(), UnsupportedError);
}

TEST(Float8Tensor, SlicesWholeBlocksOrPartsOfOne) {
  const auto row = Float8Tensor::from_hp(wave(DType::kBFloat16, 8, 32), options(PerRow{}));
  EXPECT_TRUE(equal_bytes(row->slice(0, 2, 5)->dequantize(), row->dequantize().narrow(0, 2, 3)));
  EXPECT_TRUE(equal_bytes(row->slice(1, 3, 11)->dequantize(), row->dequantize().narrow(1, 3, 8)));
  const auto tensor = Float8Tensor::from_hp(wave(DType::kBFloat16, 8, 32), options(PerTensor{}));
  EXPECT_TRUE(
      equal_bytes(tensor->slice(0, 1, 4)->dequantize(), tensor->dequantize().narrow(0, 1, 3)));
  const auto block =
      Float8Tensor::from_hp(wave(DType::kBFloat16, 8, 32), options(PerBlock{{4, 8}}));
  EXPECT_TRUE(
      equal_bytes(block->slice(1, 8, 24)->dequantize(), block->dequantize().narrow(1, 8, 16)));
  EXPECT_THROW(block->slice(0, 2, 6), ShapeError);
  EXPECT_THROW(block->slice(2, 0, 1), ShapeError);
  const auto activation_blocks = Float8Tensor::from_hp(
      wave(DType::kBFloat16, 128, 256), dynamic(PerBlock{{128, 128}}, PerBlock{{1, 128}}));
  EXPECT_EQ(activation_blocks->slice(1, 128, 256)->shape(), (Shape{128, 128}));
  EXPECT_THROW(activation_blocks->slice(1, 0, 64), ShapeError);
}

TEST(Float8Tensor, StacksRowsUnlessAScaleWouldChange) {
  const auto a = Float8Tensor::from_hp(wave(DType::kBFloat16, 4, 16), options(PerRow{}));
  const auto b = a->slice(0, 1, 3);
  const std::vector<WeightTensorPtr> rows{a, b};
  const auto stacked = a->concat_rows(rows);
  ASSERT_NE(stacked, nullptr);
  EXPECT_TRUE(equal_bytes(stacked->dequantize(), joined_rows(a->dequantize(), b->dequantize())));
  const auto t = Float8Tensor::from_hp(wave(DType::kBFloat16, 4, 16), options(PerTensor{}));
  const std::vector<WeightTensorPtr> same{t, t->slice(0, 0, 2)};
  const auto shared = t->concat_rows(same);
  ASSERT_NE(shared, nullptr);
  EXPECT_TRUE(equal_bytes(shared->dequantize(),
                          joined_rows(t->dequantize(), t->dequantize().narrow(0, 0, 2))));
  Tensor larger = wave(DType::kFloat32, 4, 16);
  larger.mutable_data<float>()[0] = 3.0f;
  const std::vector<WeightTensorPtr> other_scale{
      t, Float8Tensor::from_hp(larger.to(DType::kBFloat16), options(PerTensor{}))};
  EXPECT_EQ(t->concat_rows(other_scale), nullptr);
  const std::vector<WeightTensorPtr> other_attributes{
      a, Float8Tensor::from_hp(wave(DType::kBFloat16, 4, 16), dynamic(PerRow{}, PerRow{}))};
  EXPECT_EQ(a->concat_rows(other_attributes), nullptr);
}

TEST(Float8Tensor, RefusesWhatCannotBeQuantized) {
  EXPECT_THROW(Float8Tensor::from_hp(wave(DType::kFloat32, 4, 8), options(PerGroup{3})),
               ShapeError);
  EXPECT_THROW(Float8Tensor::from_hp(Tensor::zeros(DType::kInt8, {4, 8}), options(PerRow{})),
               UnsupportedError);
  Float8Options fnuz = options(PerRow{});
  fnuz.float8_dtype = DType::kFloat8E4M3FNUZ;
  EXPECT_THROW(Float8Tensor::from_hp(wave(DType::kFloat32, 4, 8), fnuz), UnsupportedError);
}

PrototypeFloat8Tensor::Data static_data(const WeightTensor& w) {
  return dynamic_cast<const PrototypeFloat8Tensor&>(w).data();
}

WeightTensorPtr static_weight() {
  const float scale = 0.0137f;
  return PrototypeFloat8Tensor::from_hp(
      wave(DType::kBFloat16, 16, 32), DType::kFloat8E4M3FN,
      dynamic(PerTensor{}, PerTensor{}).attributes,
      Tensor::from_values<float>(DType::kFloat32, {1, 1}, {&scale, 1}));
}

TEST(PrototypeFloat8Tensor, CarriesTheActivationScale) {
  const auto w = static_weight();
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(parts.parts[0].first, "act_quant_scale");
  EXPECT_NE(parts.attributes.find("\"output_act_quant_kwargs\": null"), std::string::npos);
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kFloat8Static);
  EXPECT_EQ(*q.activation.scale.data<float>(), 0.0137f);
  const auto again = PrototypeFloat8Tensor::from_parts(parts, "w");
  EXPECT_EQ(again->to_parts().attributes, parts.attributes);
  EXPECT_TRUE(equal_bytes(again->dequantize(), w->dequantize()));
  EXPECT_EQ(again->describe(),
            "float8_e4m3fn, block [16, 32], float8_e4m3fn static activation PerTensor()");
}

TEST(PrototypeFloat8Tensor, RefusesScalesThatDoNotFit) {
  const TensorParts good = static_weight()->to_parts();
  const auto kind = [](const TensorParts& parts) {
    return kind_of([&] { PrototypeFloat8Tensor::from_parts(parts, "w"); });
  };
  EXPECT_EQ(kind(good), "no error");
  EXPECT_EQ(kind(replaced(good, "act_quant_scale", Tensor::zeros(DType::kFloat32, {2, 1}))),
            "ao.shape_mismatch");
  EXPECT_EQ(kind(replaced(good, "act_quant_scale", Tensor::zeros(DType::kBFloat16, {1, 1}))),
            "ao.dtype_mismatch");
  TensorParts output_scale = good;
  output_scale.parts.emplace_back("output_act_quant_scale", Tensor::zeros(DType::kFloat32, {1, 1}));
  EXPECT_EQ(kind(output_scale), "ao.metadata_invalid");
}

TEST(PrototypeFloat8Tensor, QuantizedOutputsHaveNoLinear) {
  PrototypeFloat8Tensor::Data data = static_data(*static_weight());
  data.output_act_quant_kwargs = QuantizeTensorToFloat8Kwargs{};
  EXPECT_THROW(PrototypeFloat8Tensor(data).to_quantized_weight(), UnsupportedError);
}

TEST(PrototypeFloat8Tensor, SlicesAndStacksShareTheScales) {
  const auto w = static_weight();
  const auto top = w->slice(0, 0, 4);
  const std::vector<WeightTensorPtr> parts{w, top};
  const auto stacked = w->concat_rows(parts);
  ASSERT_NE(stacked, nullptr);
  EXPECT_EQ(stacked->shape(), (Shape{20, 32}));
  EXPECT_TRUE(equal_bytes(static_data(*stacked).act_quant_scale, static_data(*w).act_quant_scale));
}

}  // namespace
}  // namespace torchao_cpp
