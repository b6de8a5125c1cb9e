// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/intx_config.h"

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

std::string wire(const std::string& type, const std::string& data, int version = 2) {
  return R"({"_type": ")" + type + R"(", "_version": )" + std::to_string(version) +
         R"(, "_data": )" + data + "}";
}

std::string kind_of(const std::string& json) {
  try {
    config_from_dict(json);
  } catch (const ConfigError& e) {
    return e.kind();
  }
  return "no error";
}

TEST(IntxWeightOnlyConfig, DefaultsToInt8Rows) {
  EXPECT_EQ(quantize_tensor(ones(2, 8), *config_from_dict(wire("IntxWeightOnlyConfig", "{}")))
                .weight->describe(),
            "int8, block [1, 8]");
}

TEST(IntxWeightOnlyConfig, ChecksItsFields) {
  const std::string type = "IntxWeightOnlyConfig";
  EXPECT_EQ(kind_of(wire(type, R"({"weight_dtype": {"_type": "torch.dtype", "_data": "uint4"}})")),
            "validation");
  EXPECT_EQ(
      kind_of(wire(
          type, R"({"granularity": {"_type": "PerAxis", "_version": 1, "_data": {"axis": 1}}})")),
      "validation");
  EXPECT_EQ(
      kind_of(wire(type, R"({"granularity": {"_type": "PerTensor", "_version": 1, "_data": {}}})")),
      "validation");
  EXPECT_EQ(kind_of(wire(type, R"({"mapping_type": "SYMMETRIC"})")), "validation");
}

TEST(IntxWeightOnlyConfig, OldVersionsParseButDoNotQuantize) {
  const auto config = config_from_dict(wire("IntxWeightOnlyConfig", "{}", 1));
  EXPECT_THROW(quantize_tensor(ones(2, 8), *config), ConfigError);
}

TEST(IntxWeightOnlyConfig, RefusesOpaquePacking) {
  const auto config = config_from_dict(wire(
      "IntxWeightOnlyConfig",
      R"({"intx_packing_format": {"_type": "IntxPackingFormat", "_data": "OPAQUE_TORCHAO_AUTO"}})"));
  EXPECT_THROW(quantize_tensor(ones(2, 8), *config), ConfigError);
}

TEST(Int8DynamicActivationIntxWeightConfig, DefaultsToGroupsOf32PerToken) {
  const auto config =
      config_from_dict(wire("Int8DynamicActivationIntxWeightConfig",
                            R"({"weight_dtype": {"_type": "torch.dtype", "_data": "int4"}})"));
  EXPECT_EQ(quantize_tensor(ones(2, 64), *config).weight->describe(),
            "int4, block [1, 32], int8_asym_per_token");
}

TEST(Int8DynamicActivationIntxWeightConfig, SymmetricActivationsParseButDoNotQuantize) {
  const auto config = config_from_dict(
      wire("Int8DynamicActivationIntxWeightConfig",
           R"({"act_mapping_type": {"_type": "MappingType", "_data": "SYMMETRIC"}})"));
  EXPECT_THROW(quantize_tensor(ones(2, 64), *config), ConfigError);
}

ConfigPtr opaque(std::string_view format, std::string_view dtype, std::string_view mapping) {
  return config_from_dict(
      wire("Int8DynamicActivationIntxWeightConfig",
           R"({"weight_dtype": {"_type": "torch.dtype", "_data": ")" + std::string(dtype) +
               R"("}, "weight_mapping_type": {"_type": "MappingType", "_data": ")" +
               std::string(mapping) +
               R"("}, "intx_packing_format": {"_type": "IntxPackingFormat", "_data": ")" +
               std::string(format) + R"("}})"));
}

TEST(Int8DynamicActivationIntxWeightConfig, OpaquePackingGivesTheSameCodesWithANotice) {
  const Tensor weight = ones(2, 64);
  const QuantizeOutcome plain =
      quantize_tensor(weight, *opaque("UNPACKED_TO_INT8", "int4", "SYMMETRIC"));
  EXPECT_EQ(plain.notice, "");
  for (const char* format : {"OPAQUE_ATEN_KLEIDIAI", "OPAQUE_TORCHAO_AUTO",
                             "OPAQUE_TORCHAO_KLEIDIAI", "OPAQUE_TORCHAO_LOWBIT"}) {
    const QuantizeOutcome outcome = quantize_tensor(weight, *opaque(format, "int4", "SYMMETRIC"));
    EXPECT_EQ(outcome.weight->describe(), plain.weight->describe());
    EXPECT_TRUE(equal_bytes(outcome.weight->dequantize(), plain.weight->dequantize()));
    EXPECT_NE(outcome.notice.find("the opaque packing format"), std::string::npos);
  }
}

TEST(Int8DynamicActivationIntxWeightConfig, OpaquePackingRefusesWhatTorchaoAsserts) {
  const auto refused = [](const ConfigPtr& config, DType dtype) {
    EXPECT_THROW(quantize_tensor(ones(2, 64).to(dtype), *config), UnsupportedError);
  };
  refused(opaque("OPAQUE_ATEN_KLEIDIAI", "int3", "SYMMETRIC"), DType::kFloat32);
  refused(opaque("OPAQUE_ATEN_KLEIDIAI", "int4", "ASYMMETRIC"), DType::kFloat32);
  refused(opaque("OPAQUE_TORCHAO_LOWBIT", "int4", "SYMMETRIC"), DType::kFloat16);
  EXPECT_NO_THROW(
      quantize_tensor(ones(2, 64), *opaque("OPAQUE_TORCHAO_LOWBIT", "int3", "ASYMMETRIC")));
}

}  // namespace
}  // namespace torchao_cpp
