// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "base/json.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string text_of(std::string_view shorthand) {
  const ConfigPtr config = config_from_shorthand(shorthand);
  return config == nullptr ? "none" : config_to_dict(*config);
}

// What the class gives when built with `data`.
std::string built(std::string_view type, int version, std::string_view data = "{}") {
  return config_to_dict(*config_from_dict(R"({"_type": ")" + std::string(type) +
                                          R"(", "_version": )" + std::to_string(version) +
                                          R"(, "_data": )" + std::string(data) + "}"));
}

std::string group(int size) {
  return R"({"_type": "PerGroup", "_version": 1, "_data": {"group_size": )" + std::to_string(size) +
         "}}";
}
std::string dtype(std::string_view name) {
  return R"({"_type": "torch.dtype", "_data": ")" + std::string(name) + R"("})";
}
const std::string kTensor = R"({"_type": "PerTensor", "_version": 1, "_data": {}})";

TEST(Shorthand, Int8WeightOnly) {
  const std::string type = "Int8WeightOnlyConfig";
  EXPECT_EQ(text_of("int8wo"), built(type, 2));
  EXPECT_EQ(text_of("int8wo-32"), built(type, 2, R"({"granularity": )" + group(32) + "}"));
  EXPECT_EQ(text_of("int8_weight_only"), text_of("int8wo"));
}

TEST(Shorthand, Int8DynamicActivation) {
  const std::string type = "Int8DynamicActivationInt8WeightConfig";
  EXPECT_EQ(text_of("int8dq"), built(type, 2));
  EXPECT_EQ(text_of("int8dq-tensor"), built(type, 2, R"({"granularity": )" + kTensor + "}"));
  EXPECT_EQ(
      text_of("int8dq-asym"),
      built(type, 2, R"({"act_mapping_type": {"_type": "MappingType", "_data": "ASYMMETRIC"}})"));
  for (const char* alias :
       {"int8_dynamic_activation_int8_weight", "int8dq-row", "int8dq-per_row"}) {
    EXPECT_EQ(text_of(alias), text_of("int8dq")) << alias;
  }
  EXPECT_EQ(text_of("int8dq-per_tensor"), text_of("int8dq-tensor"));
}

TEST(Shorthand, Int4WeightOnly) {
  const std::string type = "Int4WeightOnlyConfig";
  for (const char* size : {"32", "64", "128", "256"}) {
    EXPECT_EQ(text_of("int4wo-" + std::string(size)),
              built(type, 2, R"({"group_size": )" + std::string(size) + "}"));
  }
  EXPECT_EQ(text_of("int4wo"), built(type, 2));
  EXPECT_EQ(text_of("int4_weight_only"), built(type, 2));
  EXPECT_EQ(text_of("int4wo-64-hqq"),
            built(type, 2,
                  R"({"group_size": 64, "int4_packing_format": {"_type": "Int4PackingFormat", )"
                  R"("_data": "TILE_PACKED_TO_4D"}, "int4_choose_qparams_algorithm": )"
                  R"({"_type": "Int4ChooseQParamsAlgorithm", "_data": "HQQ"}})"));
}

TEST(Shorthand, IntxWeightOnlyForEveryWidth) {
  for (int bits = 1; bits <= 8; ++bits) {
    const std::string name = "intx" + std::to_string(bits) + "wo";
    const std::string weight = R"("weight_dtype": )" + dtype("int" + std::to_string(bits));
    EXPECT_EQ(text_of(name), built("IntxWeightOnlyConfig", 2, "{" + weight + "}"));
    EXPECT_EQ(
        text_of(name + "-64"),
        built("IntxWeightOnlyConfig", 2, "{" + weight + R"(, "granularity": )" + group(64) + "}"));
  }
}

TEST(Shorthand, Int8DynamicActivationIntxForEveryWidth) {
  const std::string type = "Int8DynamicActivationIntxWeightConfig";
  for (int bits = 1; bits <= 8; ++bits) {
    const std::string name = "8da" + std::to_string(bits) + "w";
    const std::string weight = R"({"weight_dtype": )" + dtype("int" + std::to_string(bits));
    EXPECT_EQ(text_of(name),
              built(type, 2, weight + R"(, "weight_granularity": )" + group(32) + "}"));
    EXPECT_EQ(text_of(name + "-128"),
              built(type, 2, weight + R"(, "weight_granularity": )" + group(128) + "}"));
  }
  EXPECT_EQ(text_of("int8_dynamic_activation_int4_weight"), text_of("8da4w"));
}

TEST(Shorthand, Float8) {
  EXPECT_EQ(text_of("fp8wo"), built("Float8WeightOnlyConfig", 2));
  for (const char* alias : {"float8wo", "float8_weight_only"}) {
    EXPECT_EQ(text_of(alias), text_of("fp8wo")) << alias;
  }
  const std::string type = "Float8DynamicActivationFloat8WeightConfig";
  const auto with = [&](const std::string& granularity) {
    return built(type, 2, R"({"granularity": )" + granularity + "}");
  };
  EXPECT_EQ(text_of("fp8dq-row"), with(R"({"_type": "PerRow", "_data": {}})"));
  EXPECT_EQ(text_of("fp8dq-block"),
            with(R"([{"_type": "PerBlock", "_data": {"block_size": [1, 128]}},
                     {"_type": "PerBlock", "_data": {"block_size": [128, 128]}}])"));
  for (const char* alias : {"fp8dq", "fp8dq-tensor", "fp8dq-per_tensor", "float8dq",
                            "float8dq-tensor", "float8_dynamic_activation_float8_weight"}) {
    EXPECT_EQ(text_of(alias), with(kTensor)) << alias;
  }
  for (const char* alias : {"fp8dq-per_row", "float8dq-row"}) {
    EXPECT_EQ(text_of(alias), text_of("fp8dq-row")) << alias;
  }
  EXPECT_EQ(text_of("fp8da4w"), built("Float8DynamicActivationInt4WeightConfig", 1,
                                      R"({"int4_packing_format": "plain"})"));
}

TEST(Shorthand, MxAndNvfp4) {
  const std::map<std::string, std::string> elements{{"mxfp8", dtype("float8_e4m3fn")},
                                                    {"mxfp6", R"("fp6_e2m3")"},
                                                    {"mxfp4", dtype("float4_e2m1fn_x2")}};
  for (const auto& [name, element] : elements) {
    EXPECT_EQ(
        text_of(name),
        built("MXDynamicActivationMXWeightConfig", 1,
              R"({"activation_dtype": )" + element + R"(, "weight_dtype": )" + element +
                  R"(, "kernel_preference": {"_type": "KernelPreference", "_data": "EMULATED"}})"));
  }
  EXPECT_EQ(text_of("nvfp4wo"), built("NVFP4WeightOnlyConfig", 1));
  EXPECT_EQ(text_of("nvfp4"), built("NVFP4DynamicActivationNVFP4WeightConfig", 1));
}

TEST(Shorthand, AClassNameMeansItsDefaults) {
  EXPECT_EQ(text_of("IntxWeightOnlyConfig"), built("IntxWeightOnlyConfig", 2));
  EXPECT_EQ(text_of("NVFP4WeightOnlyConfig"), built("NVFP4WeightOnlyConfig", 1));
  EXPECT_EQ(text_of("AWQConfig"), "none") << "it has required fields";
  EXPECT_EQ(text_of("int8weightonlyconfig"), "none");
}

TEST(Shorthand, AnythingElseIsNone) {
  for (const char* text : {"",
                           " ",
                           "int8",
                           "INT8WO",
                           "int8wo ",
                           " int8wo",
                           "int8wo-",
                           "int8wo-0",
                           "int8wo-x",
                           "int4wo-",
                           "int4wo-0",
                           "int4wo--32",
                           "int4wo-+32",
                           "int4wo-032",
                           "int4wo-32x",
                           "int4wo-99999999999",
                           "int4wo-hqq",
                           "int4wo--hqq",
                           "int4wo-32-hqq-hqq",
                           "intx0wo",
                           "intx9wo",
                           "intxwo",
                           "intx",
                           "intx4w",
                           "intx4wo32",
                           "intx4wo-",
                           "intx4wo-0",
                           "intx10wo",
                           "8da",
                           "8da4",
                           "8da0w",
                           "8da9w-32",
                           "8da4w-",
                           "8da4w32",
                           "fp8",
                           "fp8dq-",
                           "fp8dq-col",
                           "mxfp5",
                           "nvfp4-wo",
                           "autoquant",
                           "gemlite-4-4-64",
                           "config.json",
                           "{}"}) {
    EXPECT_EQ(text_of(text), "none") << '"' << text << '"';
  }
  EXPECT_EQ(text_of(std::string("int8wo\0", 7)), "none");
  EXPECT_EQ(text_of("int4wo-" + std::string(1'000'000, '1')), "none");
}

TEST(ShorthandList, NamesEveryFamilyWithAMeaning) {
  std::vector<std::string_view> patterns;
  for (const ShorthandInfo& info : shorthand_list()) {
    patterns.push_back(info.pattern);
    EXPECT_THAT(info.meaning, Not(IsEmpty())) << info.pattern;
  }
  EXPECT_THAT(patterns, ElementsAre("int8wo", "int8dq", "int4wo-G", "intxBwo-G", "8daBw-G", "fp8wo",
                                    "fp8dq-row", "fp8da4w", "mxfp8", "nvfp4wo", "NAME"));
}

TEST(ShorthandList, ItsPatternsMeanAConfig) {
  for (const ShorthandInfo& info : shorthand_list()) {
    std::string text(info.pattern);
    if (text == "NAME") text = "Int8WeightOnlyConfig";
    if (text.ends_with("-G")) text.replace(text.size() - 1, 1, "32");
    if (const auto at = text.find('B'); at != std::string::npos) text.replace(at, 1, "4");
    EXPECT_NE(config_from_shorthand(text), nullptr) << text;
  }
}

}  // namespace
}  // namespace torchao_cpp
