// SPDX-License-Identifier: Apache-2.0
#include "workflows/int8/int8_config.h"

#include <gtest/gtest.h>

#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

Tensor ones(std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  for (float& v : t.mutable_span<float>()) v = 1.0f;
  return t;
}

std::string kind_of(std::string_view json) {
  try {
    config_from_dict(json);
  } catch (const ConfigError& e) {
    return e.kind();
  }
  return "no error";
}

TEST(Int8WeightOnlyConfig, TakesTheGranularity) {
  const auto config = config_from_dict(
      R"({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 4}}}})");
  EXPECT_EQ(quantize_tensor(ones(2, 8), *config).weight->describe(), "int8, block [1, 4]");
}

TEST(Int8WeightOnlyConfig, RefusesVersion1AndGroupSize) {
  EXPECT_EQ(kind_of(R"({"_type": "Int8WeightOnlyConfig", "_version": 1, "_data": {}})"),
            "version_not_accepted");
  EXPECT_EQ(
      kind_of(R"({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"group_size": 32}})"),
      "validation");
  EXPECT_EQ(
      kind_of(R"({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"granularity": 3}})"),
      "validation");
}

TEST(Int8DynamicConfig, ChecksBothGranularities) {
  const auto data = [](const std::string& granularity) {
    return R"({"_type": "Int8DynamicActivationInt8WeightConfig", "_version": 2, "_data": {"granularity": )" +
           granularity + "}}";
  };
  const std::string row = R"({"_type": "PerRow", "_version": 1, "_data": {"dim": -1}})";
  const std::string column = R"({"_type": "PerRow", "_version": 1, "_data": {"dim": 0}})";
  const std::string tensor = R"({"_type": "PerTensor", "_version": 1, "_data": {}})";
  EXPECT_EQ(kind_of(data("null")), "no error");
  EXPECT_EQ(kind_of(data("[" + row + ", " + tensor + "]")), "no error");
  EXPECT_EQ(kind_of(data("[" + tensor + ", " + column + "]")), "no error");
  EXPECT_EQ(kind_of(data("[" + column + ", " + tensor + "]")), "validation");
  EXPECT_EQ(kind_of(data("[" + row + "]")), "validation");
  EXPECT_EQ(kind_of(data("5")), "validation");
}

TEST(Int8DynamicConfig, GivesBothSidesTheirGranularity) {
  const auto config = config_from_dict(
      R"({"_type": "Int8DynamicActivationInt8WeightConfig", "_version": 2, "_data": {"act_mapping_type": {"_type": "MappingType", "_data": "ASYMMETRIC"}, )"
      R"("granularity": [{"_type": "PerTensor", "_version": 1, "_data": {}}, {"_type": "PerRow", "_version": 1, "_data": {"dim": -1}}]}})");
  EXPECT_EQ(quantize_tensor(ones(2, 8), *config).weight->describe(),
            "int8, block [1, 8], int8 dynamic activation PerTensor() asymmetric");
}

TEST(Int8StaticConfig, NeedsAScale) {
  const auto bare = config_from_dict(
      R"({"_type": "Int8StaticActivationInt8WeightConfig", "_version": 1, "_data": {}})");
  EXPECT_THROW(quantize_tensor(ones(2, 8), *bare), ConfigError);
  const auto scaled = config_from_dict(
      R"({"_type": "Int8StaticActivationInt8WeightConfig", "_version": 1, "_data": {"act_quant_scale": [[0.25]], "act_quant_zero_point": [[3]]}})");
  const QuantizedWeight q = quantize_tensor(ones(2, 8), *scaled).weight->to_quantized_weight();
  EXPECT_EQ(q.activation.kind, ActivationQuant::Kind::kInt8Static);
  EXPECT_EQ(q.activation.scale.data<float>()[0], 0.25f);
  EXPECT_EQ(q.activation.zero_point.data<std::int8_t>()[0], 3);
}

}  // namespace
}  // namespace torchao_cpp
