// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

Tensor ones(std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  for (float& v : t.mutable_span<float>()) v = 1.0f;
  return t.to(DType::kBFloat16);
}

ConfigPtr int4(const std::string& data, int version = 2) {
  return config_from_dict(R"({"_type": "Int4WeightOnlyConfig", "_version": )" +
                          std::to_string(version) + R"(, "_data": )" + data + "}");
}

TEST(Int4WeightOnlyConfig, ChoosesTheTensorTypeByPackingFormat) {
  EXPECT_EQ(quantize_tensor(ones(8, 128), *int4("{}")).weight->class_name(), "Int4Tensor");
  EXPECT_EQ(quantize_tensor(ones(8, 128), *int4(R"({"int4_packing_format": "tile_packed_to_4d"})"))
                .weight->class_name(),
            "Int4TilePackedTo4dTensor");
  EXPECT_THROW(quantize_tensor(ones(8, 128), *int4(R"({"int4_packing_format": "plain_int32"})")),
               UnsupportedError);
}

TEST(Int4WeightOnlyConfig, PreshuffledStandsAsideForRowsThatItsOrderCannotHold) {
  const ConfigPtr config = int4(R"({"int4_packing_format": "preshuffled"})");
  const QuantizeOutcome shuffled = quantize_tensor(ones(16, 128), *config);
  EXPECT_EQ(shuffled.notice, "");
  EXPECT_EQ(shuffled.weight->describe(), "int4 preshuffled, block [1, 128]");
  const QuantizeOutcome plain = quantize_tensor(ones(8, 128), *config);
  EXPECT_EQ(plain.weight->class_name(), "Int4Tensor");
  EXPECT_EQ(plain.notice,
            "Int4Tensor stands in for packing format preshuffled: Int4PreshuffledTensor [8, 128]: "
            "the order for bfloat16 activations takes rows in 16s and columns in 16s");
}

TEST(Int4WeightOnlyConfig, LeavesWeightsWithoutWholeGroupsAloneBeforeAnyOtherCheck) {
  const QuantizeOutcome outcome =
      quantize_tensor(ones(8, 96), *int4(R"({"int4_packing_format": "preshuffled"})", 1));
  EXPECT_EQ(outcome.weight, nullptr);
  EXPECT_EQ(outcome.reason, "shape [8, 96] is not compatible with group_size 128: 96 % 128 != 0");
}

TEST(Int4WeightOnlyConfig, RefusesWhatTorchaoAsserts) {
  EXPECT_THROW(quantize_tensor(ones(8, 128), *int4("{}", 1)), ConfigError);
  EXPECT_THROW(quantize_tensor(ones(8, 128), *int4(R"({"int4_choose_qparams_algorithm": "hqq"})")),
               ConfigError);
  EXPECT_THROW(quantize_tensor(ones(8, 128), *int4(R"({"group_size": 0})")), ConfigError);
  EXPECT_THROW(quantize_tensor(ones(8, 128), *int4(R"({"group_size": "128"})")), ConfigError);
  EXPECT_THROW(int4(R"({"int4_tile_packed_ntile": 4})"), ConfigError);
}

TEST(Float8DynamicActivationInt4WeightConfig, QuantizesThePlainFormInGroupsOf128) {
  const auto config = config_from_dict(
      R"({"_type": "Float8DynamicActivationInt4WeightConfig", "_version": 1, "_data": {"int4_packing_format": "plain"}})");
  EXPECT_EQ(quantize_tensor(ones(8, 256), *config).weight->describe(),
            "int4, block [1, 128], float8_e4m3fn dynamic activation PerRow");
  EXPECT_THROW(quantize_tensor(ones(8, 96), *config), ShapeError);
  const auto by_default = config_from_dict(
      R"({"_type": "Float8DynamicActivationInt4WeightConfig", "_version": 1, "_data": {}})");
  EXPECT_EQ(quantize_tensor(ones(16, 256), *by_default).weight->describe(),
            "int4 preshuffled, block [1, 128], float8_e4m3fn dynamic activation PerRow");
  const QuantizeOutcome outcome = quantize_tensor(ones(8, 256), *by_default);
  EXPECT_EQ(outcome.weight->class_name(), "Int4Tensor");
  EXPECT_THAT(outcome.notice, testing::HasSubstr("stands in for packing format preshuffled"));
  EXPECT_THROW(quantize_tensor(ones(16, 96), *by_default), ShapeError);
}

}  // namespace
}  // namespace torchao_cpp
