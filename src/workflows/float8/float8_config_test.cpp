// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_config.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

#include "torchao_cpp/config.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "workflows/float8/float8_tensor.h"
#include "workflows/float8/prototype_float8_tensor.h"

namespace torchao_cpp {
namespace {

ConfigPtr config(const std::string& type, int version, const std::string& data) {
  return config_from_dict(R"({"_type": ")" + type + R"(", "_version": )" + std::to_string(version) +
                          R"(, "_data": )" + data + "}");
}

ConfigPtr dynamic(const std::string& data) {
  return config("Float8DynamicActivationFloat8WeightConfig", 2, data);
}
ConfigPtr fixed(const std::string& data) {
  return config("Float8StaticActivationFloat8WeightConfig", 1, data);
}

template <typename F>
std::string error_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

Tensor weight(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i % 13) - 6.0f;
  return t.to(dtype);
}

constexpr const char* kPerRow = R"({"_type": "PerRow", "_version": 1, "_data": {"dim": -1}})";
constexpr const char* kBlocks =
    R"({"granularity": [{"_type": "PerBlock", "_version": 1, "_data": {"block_size": [1, 128]}}, )"
    R"({"_type": "PerBlock", "_version": 1, "_data": {"block_size": [128, 128]}}]})";

TEST(Float8WeightOnlyConfig, FillsInTheRowGranularity) {
  const auto c = config("Float8WeightOnlyConfig", 2, "{}");
  EXPECT_EQ(Float8WeightOnlyConfig::from_data(c->data()).granularity, Granularity(PerRow{}));
  EXPECT_NE(config_to_dict(*c).find(R"("granularity": {"_type": "PerRow")"), std::string::npos);
}

TEST(Float8WeightOnlyConfig, ChecksGranularityAndVersion) {
  EXPECT_NE(error_of([] {
              config(
                  "Float8WeightOnlyConfig", 2,
                  R"({"granularity": {"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}}})");
            }).find("granularity must be PerTensor, PerRow, or PerGroup, got PerAxis(axis=0)"),
            std::string::npos);
  const auto old = config("Float8WeightOnlyConfig", 1, "{}");
  EXPECT_NE(error_of([&] {
              quantize_tensor(weight(DType::kBFloat16, 16, 16), *old);
            }).find("Unexpected version: 1"),
            std::string::npos);
}

TEST(Float8WeightOnlyConfig, QuantizesAnyShapeAndDtype) {
  const auto c = config("Float8WeightOnlyConfig", 2,
                        R"({"weight_dtype": {"_type": "torch.dtype", "_data": "float8_e5m2"}})");
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    const auto out = quantize_tensor(weight(dtype, 3, 5), *c);
    ASSERT_NE(out.weight, nullptr);
    EXPECT_EQ(out.weight->to_parts().find("qdata").dtype(), DType::kFloat8E5M2);
    EXPECT_EQ(out.weight->dtype(), dtype);
  }
  const auto fnuz =
      config("Float8WeightOnlyConfig", 2,
             R"({"weight_dtype": {"_type": "torch.dtype", "_data": "float8_e4m3fnuz"}})");
  EXPECT_THROW(quantize_tensor(weight(DType::kBFloat16, 16, 16), *fnuz), UnsupportedError);
}

TEST(Float8DynamicConfig, NormalisesGranularityAndMMConfig) {
  const auto c = Float8DynamicActivationFloat8WeightConfig::from_data(dynamic("{}")->data());
  EXPECT_EQ(c.act_granularity, Granularity(PerTensor{}));
  EXPECT_EQ(c.weight_granularity, Granularity(PerTensor{}));
  EXPECT_TRUE(c.mm_config->use_fast_accum);
  const auto row = Float8DynamicActivationFloat8WeightConfig::from_data(
      dynamic(std::string(R"({"granularity": )") + kPerRow + "}")->data());
  EXPECT_EQ(row.act_granularity, Granularity(PerRow{}));
  const auto block = Float8DynamicActivationFloat8WeightConfig::from_data(dynamic(kBlocks)->data());
  EXPECT_FALSE(block.mm_config->use_fast_accum);
  EXPECT_EQ(block.weight_granularity, Granularity(PerBlock{{128, 128}}));
}

TEST(Float8DynamicConfig, ChecksGranularities) {
  const std::string mixed =
      std::string(R"({"granularity": [{"_type": "PerTensor", "_version": 1, "_data": {}}, )") +
      kPerRow + "]}";
  EXPECT_NE(error_of([&] {
              dynamic(mixed);
            }).find("Unsupported granularity types: [PerTensor(), PerRow(dim=-1)]."),
            std::string::npos);
  EXPECT_NE(error_of([] {
              dynamic(R"({"granularity": []})");
            }).find("Invalid granularity specification: []"),
            std::string::npos);
  std::string triton(kBlocks);
  triton.insert(1, R"("kernel_preference": {"_type": "KernelPreference", "_data": "TRITON"}, )");
  EXPECT_NE(error_of([&] { dynamic(triton); }).find("unimplemented"), std::string::npos);
}

TEST(Float8DynamicConfig, LeavesOddShapesAlone) {
  for (const auto& [n, k] : {std::pair<int, int>{17, 32}, {32, 24}}) {
    const auto out = quantize_tensor(weight(DType::kBFloat16, n, k), *dynamic("{}"));
    EXPECT_EQ(out.weight, nullptr);
    EXPECT_NE(out.reason.find("multiples of 16"), std::string::npos);
  }
}

TEST(Float8DynamicConfig, QuantizesWithActivationKwargs) {
  const auto c =
      dynamic(std::string(R"({"activation_value_lb": 0.5, "granularity": )") + kPerRow + "}");
  const auto out = quantize_tensor(weight(DType::kBFloat16, 16, 32), *c);
  ASSERT_NE(out.weight, nullptr);
  const QuantizedWeight q = out.weight->to_quantized_weight();
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kFloat8Dynamic);
  EXPECT_EQ(q.activation.value_lb, 0.5);
  EXPECT_NE(error_of([&] {
              quantize_tensor(weight(DType::kFloat32, 16, 32), *c);
            }).find("PerRow quantization only works for bfloat16 precision input weight"),
            std::string::npos);
  EXPECT_NE(quantize_tensor(weight(DType::kFloat32, 16, 32), *dynamic("{}")).weight, nullptr);
  EXPECT_THROW(quantize_tensor(weight(DType::kBFloat16, 16, 32), *dynamic(kBlocks)), ShapeError);
}

TEST(Float8DynamicConfig, FastAccumulationReachesTheProduct) {
  const auto activation_of = [](const std::string& data) {
    const auto out = quantize_tensor(weight(DType::kBFloat16, 16, 32), *dynamic(data));
    return out.weight->to_quantized_weight().activation;
  };
  EXPECT_TRUE(activation_of("{}").use_fast_accum);
  EXPECT_FALSE(
      activation_of(R"({"mm_config": {"_type": "Float8MMConfig", "_version": 1, "_data": )"
                    R"({"emulate": false, "use_fast_accum": false, "pad_inner_dim": false}}})")
          .use_fast_accum);
}

std::string error_of_packing(std::string_view packing, std::string_view granularity) {
  const auto c = dynamic(fmt::format(
      R"({{"packing_format": {{"_type": "Float8PackingFormat", "_data": "{}"}}, "granularity": {}}})",
      packing, granularity));
  return error_of([&] { quantize_tensor(weight(DType::kBFloat16, 16, 32), *c); });
}

TEST(Float8DynamicConfig, SparsePackingWantsAPrunedWeightPerRow) {
  EXPECT_NE(error_of_packing("SPARSE_2D_DATA_2D_METADATA", kPerRow).find("prune the weight first"),
            std::string::npos);
  EXPECT_NE(error_of_packing("SPARSE_2D_DATA_2D_METADATA", "null").find("takes PerRow granularity"),
            std::string::npos);
  EXPECT_NE(error_of_packing("SPARSE_1D_DATA_1D_METADATA", kPerRow).find("takes PerTensor"),
            std::string::npos);
  EXPECT_NE(error_of_packing("SPARSE_1D_DATA_1D_METADATA", "null").find("prune the weight first"),
            std::string::npos);
}

TEST(Float8DynamicConfig, Sparse1dIsDenseFloat8OfTheWholeTensorWithANotice) {
  Tensor pruned = Tensor::zeros(DType::kBFloat16, {16, 32});
  for (std::int64_t i = 0; i < pruned.numel(); i += 4)
    pruned.mutable_data<std::uint16_t>()[i] = 0x3f80;  // 1
  const auto sparse = dynamic(
      R"({"packing_format": {"_type": "Float8PackingFormat", "_data": "SPARSE_1D_DATA_1D_METADATA"}})");
  const QuantizeOutcome outcome = quantize_tensor(pruned, *sparse);
  EXPECT_NE(outcome.notice.find("SPARSE_1D_DATA_1D_METADATA"), std::string::npos);
  EXPECT_EQ(outcome.weight->class_name(), "Float8Tensor");
  EXPECT_TRUE(equal_bytes(outcome.weight->dequantize(),
                          quantize_tensor(pruned, *dynamic("{}")).weight->dequantize()));
}

TEST(Float8StaticConfig, NeedsAScale) {
  EXPECT_NE(error_of([] {
              quantize_tensor(weight(DType::kBFloat16, 16, 32), *fixed("{}"));
            }).find("When step is None, act_quant_scale must be provided"),
            std::string::npos);
  const auto out =
      quantize_tensor(weight(DType::kBFloat16, 16, 32), *fixed(R"({"act_quant_scale": [[0.25]]})"));
  ASSERT_NE(out.weight, nullptr);
  EXPECT_EQ(out.weight->class_name(), "PrototypeFloat8Tensor");
  EXPECT_EQ(out.weight->to_parts().find("act_quant_scale").shape(), (Shape{1, 1}));
  EXPECT_EQ(*out.weight->to_quantized_weight().activation.scale.data<float>(), 0.25f);
}

TEST(Float8StaticConfig, StepsBelongToCalibration) {
  const auto prepare = fixed(R"({"step": "PREPARE"})");
  EXPECT_NE(config_to_dict(*prepare).find(R"("step": "prepare")"), std::string::npos);
  const auto out = quantize_tensor(weight(DType::kBFloat16, 16, 32), *prepare);
  EXPECT_EQ(out.weight, nullptr);
  EXPECT_NE(out.reason.find("calibration"), std::string::npos);
  EXPECT_NE(error_of([] { fixed(R"({"step": "later"})"); }).find("later is not one of"),
            std::string::npos);
}

TEST(Float8StaticConfig, RefusesWhatNoLinearDoes) {
  const Tensor w = weight(DType::kBFloat16, 16, 32);
  EXPECT_THROW(
      quantize_tensor(w, *fixed(R"({"act_quant_scale": 0.25, "output_act_quant_scale": 0.5})")),
      UnsupportedError);
  EXPECT_THROW(
      quantize_tensor(
          w, *fixed(std::string(R"({"act_quant_scale": 0.25, "granularity": )") + kPerRow + "}")),
      UnsupportedError);
  EXPECT_THROW(quantize_tensor(w, *fixed(R"({"act_quant_scale": [[0.25, 0.5]]})")), ConfigError);
}

}  // namespace
}  // namespace torchao_cpp
