// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/uintx_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/json.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string wire(std::string_view type, const std::string& data, int version = 1) {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": )" + std::to_string(version) +
         R"(, "_data": )" + data + "}";
}

Json fields(const std::string& json) { return config_from_dict(json)->data().fields; }

std::string error_of(const std::string& json) {
  try {
    config_from_dict(json);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

class UIntxConfig : public ::testing::TestWithParam<const char*> {
 protected:
  static std::string with(const std::string& data) { return wire(GetParam(), "{" + data + "}"); }
};

TEST_P(UIntxConfig, HasTorchaosDefaults) {
  EXPECT_EQ(
      fields(with("")).dump(),
      R"({"group_size":128,"bit_width":4,"packing_bitwidth":null,"set_inductor_config":true})");
}

TEST_P(UIntxConfig, ChecksTheGroupSize) {
  for (const char* size : {"32", "64", "128", "256", "512", "1024", "null"}) {
    EXPECT_EQ(error_of(with(R"("group_size": )" + std::string(size))), "no error") << size;
  }
  for (const char* size : {"0", "16", "-32", "33", "2048", R"("32")", "true", "[32]"}) {
    const std::string error = error_of(with(R"("group_size": )" + std::string(size)));
    EXPECT_THAT(error, StartsWith("validation: ")) << size;
    EXPECT_THAT(error, HasSubstr("group_size must be one of")) << size;
  }
}

TEST_P(UIntxConfig, EightBitsNeedANullGroupSize) {
  EXPECT_EQ(error_of(with(R"("bit_width": 8, "group_size": null)")), "no error");
  EXPECT_THAT(error_of(with(R"("bit_width": 8)")),
              HasSubstr("group_size must be None for bit_width=8, got 128"));
}

TEST_P(UIntxConfig, ChecksBitWidthAndPacking) {
  for (const char* bits : {"2", "0", "16", R"("4")", "null"}) {
    EXPECT_THAT(error_of(with(R"("bit_width": )" + std::string(bits))),
                HasSubstr("bit_width must be 4 or 8"))
        << bits;
  }
  for (const char* bits : {"8", "16", "32", "null"}) {
    EXPECT_EQ(error_of(with(R"("packing_bitwidth": )" + std::string(bits))), "no error") << bits;
  }
  EXPECT_THAT(error_of(with(R"("packing_bitwidth": 64)")),
              HasSubstr("packing_bitwidth must be 8, 16, 32, or None, got 64"));
}

TEST_P(UIntxConfig, DeclaresNoVersion) {
  EXPECT_THAT(error_of(wire(GetParam(), "{}", 2)), StartsWith("version_not_accepted: "));
}

TEST_P(UIntxConfig, QuantizesToUIntxBitPackedTensor) {
  const Tensor weight = Tensor::zeros(DType::kFloat16, {16, 128});
  const auto described = [&](const std::string& data) {
    const WeightTensorPtr quantized = quantize_tensor(weight, *config_from_dict(with(data))).weight;
    return std::string(quantized->class_name()) + ", " + quantized->describe();
  };
  EXPECT_THAT(described(R"("group_size": 64)"),
              StartsWith("UIntxBitPackedTensor, uint4, group 64"));
  EXPECT_THAT(described(R"("group_size": null, "bit_width": 8)"),
              StartsWith("UIntxBitPackedTensor, uint8, group 128"));
}

INSTANTIATE_TEST_SUITE_P(Both, UIntxConfig,
                         ::testing::Values("UIntxWeightOnlyConfig",
                                           "Int8DynamicActivationUIntxWeightConfig"));

}  // namespace
}  // namespace torchao_cpp
