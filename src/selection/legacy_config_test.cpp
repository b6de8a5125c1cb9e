// SPDX-License-Identifier: Apache-2.0
#include "selection/legacy_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::string wire(std::string_view type, int version, std::string_view data) {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": )" + std::to_string(version) +
         R"(, "_data": )" + std::string(data) + "}";
}

std::string layout(std::string_view name, std::string_view data = "{}") {
  return R"("layout": )" + wire(name, 1, data);
}

// The upgraded config, which today's reader must accept without a remark.
Json upgraded(const std::string& json) {
  std::vector<ConfigWarning> warnings;
  const std::string text = upgrade_legacy_config(json, &warnings);
  EXPECT_FALSE(warnings.empty()) << json;
  for (const ConfigWarning& w : warnings) EXPECT_EQ(w.kind, "legacy_config") << w.message;
  std::vector<ConfigWarning> remarks;
  const ConfigPtr config = config_from_dict(text, &remarks);
  EXPECT_THAT(remarks, IsEmpty()) << text;
  return Json::parse(config_to_dict(*config));
}

std::string error_of(const std::string& json) {
  try {
    upgrade_legacy_config(json);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

TEST(UpgradeLegacyConfig, LeavesTodaysTextAsItIs) {
  for (const std::string& json :
       {wire("Int8WeightOnlyConfig", 2, R"({"granularity":   null})"),
        wire("Int4WeightOnlyConfig", 2, "{}"), wire("IntxWeightOnlyConfig", 2, "{}"),
        wire("FqnToConfig", 1, R"({"fqn_to_config": {"a": null}})"), wire("NoSuchConfig", 1, "{}"),
        std::string("[1, 2]"), std::string("3"),
        std::string(R"({"_type": "FPXWeightOnlyConfig"})")}) {
    std::vector<ConfigWarning> warnings;
    EXPECT_EQ(upgrade_legacy_config(json, &warnings), json);
    EXPECT_THAT(warnings, IsEmpty()) << json;
  }
}

TEST(UpgradeInt4WeightOnly, Version1IsTilePackedTinygemm) {
  const Json config = upgraded(
      wire("Int4WeightOnlyConfig", 1,
           R"({"group_size": 64, )" + layout("TensorCoreTiledLayout", R"({"inner_k_tiles": 8})") +
               R"(, "use_hqq": false, "zero_point_domain": {"_type": "ZeroPointDomain", )"
               R"("_data": "NONE"}, "set_inductor_config": true})"));
  EXPECT_EQ(config["_version"], 2);
  EXPECT_EQ(config["_data"]["group_size"], 64);
  EXPECT_EQ(config["_data"]["int4_packing_format"]["_data"], "TILE_PACKED_TO_4D");
  EXPECT_EQ(config["_data"]["int4_choose_qparams_algorithm"]["_data"], "TINYGEMM");
  const Json hqq = upgraded(wire("Int4WeightOnlyConfig", 1, R"({"use_hqq": true})"));
  EXPECT_EQ(hqq["_data"]["int4_choose_qparams_algorithm"]["_data"], "HQQ");
}

TEST(UpgradeInt4WeightOnly, PackingFormatOf0_13IsRenamed) {
  const Json config = upgraded(wire("Int4WeightOnlyConfig", 2,
                                    R"({"packing_format": {"_type": "PackingFormat", )"
                                    R"("_data": "PRESHUFFLED"}})"));
  EXPECT_EQ(config["_data"]["int4_packing_format"].dump(),
            R"({"_type":"Int4PackingFormat","_data":"PRESHUFFLED"})");
}

TEST(UpgradeInt4WeightOnly, Version2DropsTheFieldsOfVersion1) {
  const Json config = upgraded(
      wire("Int4WeightOnlyConfig", 2,
           "{" + layout("TensorCoreTiledLayout", R"({"inner_k_tiles": 8})") +
               R"(, "use_hqq": false, "preserve_zero": null, "int4_packing_format": "plain"})"));
  EXPECT_EQ(config["_data"]["int4_packing_format"], "plain");
}

TEST(UpgradeInt4WeightOnly, RefusesWhatHasNoEquivalent) {
  EXPECT_THAT(
      error_of(wire("Int4WeightOnlyConfig", 1, "{" + layout("MarlinSparseLayout") + "}")),
      StartsWith("legacy_config: Int4WeightOnlyConfig: the layout 'MarlinSparseLayout' was written "
                 "by torchao <= 0.17"));
  EXPECT_THAT(
      error_of(wire("Int4WeightOnlyConfig", 1,
                    R"({"zero_point_domain": {"_type": "ZeroPointDomain", "_data": "INT"}})")),
      HasSubstr("zero_point_domain INT was written by torchao"));
  EXPECT_THAT(error_of(wire("Int4WeightOnlyConfig", 1, R"({"preserve_zero": true})")),
              HasSubstr("preserve_zero true was written by torchao"));
  EXPECT_THAT(error_of(wire(
                  "Int4WeightOnlyConfig", 2,
                  R"({"int4_packing_format": {"_type": "Int4PackingFormat", "_data": "OPAQUE"}})")),
              HasSubstr("'OPAQUE' was written by torchao 0.13 to 0.15"));
}

TEST(UpgradeInt8WeightOnly, GroupSizeBecomesAGranularity) {
  EXPECT_EQ(upgraded(wire("Int8WeightOnlyConfig", 1,
                          R"({"group_size": null})"))["_data"]["granularity"]["_type"],
            "PerRow");
  const Json grouped = upgraded(wire("Int8WeightOnlyConfig", 1, R"({"group_size": 64})"));
  EXPECT_EQ(grouped["_data"]["granularity"]["_data"]["group_size"], 64);
  EXPECT_TRUE(grouped["_data"]["group_size"].is_null());
  // An absent version is 1.
  EXPECT_EQ(upgraded(R"({"_type": "Int8WeightOnlyConfig", "_data": {}})")["_version"], 2);
}

TEST(UpgradeInt8Dynamic, DropsThePlainLayout) {
  const Json config = upgraded(
      wire("Int8DynamicActivationInt8WeightConfig", 1,
           "{" + layout("PlainLayout") +
               R"(, "act_mapping_type": {"_type": "MappingType", "_data": "ASYMMETRIC"}})"));
  EXPECT_EQ(config["_version"], 2);
  EXPECT_EQ(config["_data"]["act_mapping_type"]["_data"], "ASYMMETRIC");
  EXPECT_EQ(config["_data"]["granularity"]["_type"], "PerRow");
  EXPECT_FALSE(config["_data"].contains("layout"));
}

TEST(UpgradeInt8Dynamic, RefusesWhatHasNoEquivalent) {
  EXPECT_THAT(error_of(wire("Int8DynamicActivationInt8WeightConfig", 1,
                            "{" + layout("SemiSparseLayout") + "}")),
              HasSubstr("'SemiSparseLayout' was written by torchao <= 0.17"));
  EXPECT_THAT(error_of(wire("NVFP4WeightOnlyConfig", 1, "{" + layout("PlainLayout") + "}")),
              HasSubstr("'PlainLayout' was written by torchao <= 0.17"));
  EXPECT_THAT(
      error_of(wire("Int8DynamicActivationInt8WeightConfig", 1, R"({"weight_only_decode": true})")),
      HasSubstr("use Int8WeightOnlyConfig"));
}

TEST(UpgradeIntx, DropsTheLayoutAndRenamesThePackingFormat) {
  const Json dynamic =
      upgraded(wire("Int8DynamicActivationIntxWeightConfig", 1,
                    "{" + layout("QDQLayout") +
                        R"(, "weight_dtype": {"_type": "torch.dtype", "_data": "int4"}})"));
  EXPECT_EQ(dynamic["_version"], 2);
  EXPECT_EQ(dynamic["_data"]["weight_dtype"]["_data"], "int4");
  const Json weight_only =
      upgraded(wire("IntxWeightOnlyConfig", 1, R"({"packing_format": "unpacked_to_int8"})"));
  EXPECT_EQ(weight_only["_data"]["intx_packing_format"]["_data"], "UNPACKED_TO_INT8");
}

TEST(UpgradeFloat8, Version1BecomesVersion2) {
  EXPECT_EQ(upgraded(wire("Float8WeightOnlyConfig", 1, "{}"))["_version"], 2);
  EXPECT_EQ(upgraded(wire("Float8DynamicActivationFloat8WeightConfig", 1, "{}"))["_version"], 2);
}

TEST(UpgradeFloat8, FbgemmIsMslkToday) {
  for (const char* spelling :
       {R"({"_type": "KernelPreference", "_data": "FBGEMM"})", R"("fbgemm")"}) {
    const std::string json = wire("Float8DynamicActivationFloat8WeightConfig", 2,
                                  R"({"kernel_preference": )" + std::string(spelling) + "}");
    const Json preference = upgraded(json)["_data"]["kernel_preference"];
    EXPECT_EQ(preference.is_string() ? preference : preference["_data"],
              preference.is_string() ? "mslk" : "MSLK");
  }
}

TEST(UpgradeFloat8, SemiSparseIsAPackingFormatToday) {
  const Json config = upgraded(wire("Float8DynamicActivationFloat8SemiSparseWeightConfig", 1,
                                    "{" + layout("CutlassSemiSparseLayout") + "}"));
  EXPECT_EQ(config["_type"], "Float8DynamicActivationFloat8WeightConfig");
  EXPECT_EQ(config["_data"]["packing_format"]["_data"], "SPARSE_2D_DATA_2D_METADATA");
  EXPECT_EQ(config["_data"]["activation_dtype"]["_data"], "float8_e5m2");
}

TEST(UpgradeFloat8Int4, PackingFormatOf0_13IsRenamed) {
  const Json config = upgraded(
      wire("Float8DynamicActivationInt4WeightConfig", 1, R"({"packing_format": "preshuffled"})"));
  EXPECT_EQ(config["_data"]["int4_packing_format"]["_data"], "PRESHUFFLED");
}

TEST(UpgradeRemovedClass, Int4WeightsBecomeIntx) {
  const Json config = upgraded(wire("Int8DynamicActivationInt4WeightConfig", 1,
                                    R"({"group_size": 64, )" + layout("PlainLayout") +
                                        R"(, "mapping_type": {"_type": "MappingType", )"
                                        R"("_data": "ASYMMETRIC"}})"));
  EXPECT_EQ(config["_type"], "Int8DynamicActivationIntxWeightConfig");
  EXPECT_EQ(config["_version"], 2);
  EXPECT_EQ(config["_data"]["weight_dtype"]["_data"], "int4");
  EXPECT_EQ(config["_data"]["weight_granularity"]["_data"]["group_size"], 64);
  EXPECT_EQ(config["_data"]["weight_mapping_type"]["_data"], "ASYMMETRIC");
  const Json defaults = upgraded(wire("Int8DynamicActivationInt4WeightConfig", 1, "{}"));
  EXPECT_EQ(defaults["_data"]["weight_granularity"]["_data"]["group_size"], 32);
}

TEST(UpgradeRemovedClass, GemliteSaysItsModeInTheClass) {
  EXPECT_EQ(upgraded(wire("GemliteUIntXWeightOnlyConfig", 1, "{}"))["_type"],
            "UIntxWeightOnlyConfig");
  EXPECT_EQ(upgraded(wire("GemliteUIntXWeightOnlyConfig", 1, R"({"mode": "dynamic"})"))["_type"],
            "Int8DynamicActivationUIntxWeightConfig");
  EXPECT_THAT(error_of(wire("GemliteUIntXWeightOnlyConfig", 1, R"({"mode": "static"})")),
              StartsWith("legacy_config: "));
}

TEST(UpgradeRemovedClass, OthersSayWhoWroteThem) {
  const std::pair<const char*, const char*> cases[] = {
      {"UIntXWeightOnlyConfig", "<= 0.16"}, {"FPXWeightOnlyConfig", "<= 0.15"},
      {"FbgemmConfig", "<= 0.13"},          {"Int4DynamicActivationInt4WeightConfig", "<= 0.15"},
      {"MXFPInferenceConfig", "<= 0.14"},   {"NVFP4InferenceConfig", "<= 0.14"}};
  for (const auto& [type, version] : cases) {
    for (const char* data : {"{}", "3"}) {
      const std::string error = error_of(wire(type, 1, data));
      EXPECT_THAT(error, StartsWith("legacy_config: " + std::string(type))) << data;
      EXPECT_THAT(error, HasSubstr("written by torchao " + std::string(version))) << data;
    }
  }
}

TEST(UpgradeLegacyConfig, GoesIntoMapsAndBaseConfigs) {
  const Json map = upgraded(wire("AOPerModuleConfig", 1,
                                 R"({"module_fqn_to_config": {"a": null, "b": )" +
                                     wire("Int8WeightOnlyConfig", 1, "{}") + "}}"));
  EXPECT_EQ(map["_data"]["fqn_to_config"]["b"]["_version"], 2);
  EXPECT_TRUE(map["_data"]["fqn_to_config"]["a"].is_null());
  const Json awq = upgraded(
      wire("AWQConfig", 1,
           R"({"step": "convert", "base_config": )" + wire("Int8WeightOnlyConfig", 1, "{}") + "}"));
  EXPECT_EQ(awq["_data"]["base_config"]["_version"], 2);
}

TEST(UpgradeLegacyConfig, AWarningNamesClassAndWriter) {
  std::vector<ConfigWarning> warnings;
  upgrade_legacy_config(wire("Float8WeightOnlyConfig", 1, "{}"), &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].message,
            "Float8WeightOnlyConfig: version 1 (written by torchao <= 0.15) became version 2");
}

TEST(UpgradeLegacyConfig, WhatNoTorchaoWroteIsLeftToTheParser) {
  for (const char* version : {"null", R"("1")", "-1", "99999999999", "1.5"}) {
    const std::string json = R"({"_type": "Int8WeightOnlyConfig", "_version": )" +
                             std::string(version) + R"(, "_data": {}})";
    EXPECT_EQ(upgrade_legacy_config(json), json);
  }
  const std::string typo = wire("Int4WeightOnlyConfig", 2, R"({"int4_packing_format": "plane"})");
  EXPECT_EQ(upgrade_legacy_config(typo), typo);
  EXPECT_THAT(error_of(R"({"_type": 1, "_type": 2})"), StartsWith("json: "));
}

Json from_string(std::string_view quant_type, std::string_view kwargs) {
  std::vector<ConfigWarning> warnings;
  const Json wire = upgrade_string_quant_type(quant_type, Json::parse(kwargs), &warnings);
  EXPECT_FALSE(warnings.empty());
  return Json::parse(config_to_dict(*config_from_dict(wire.dump())));
}

TEST(StringQuantType, NamesTheConfigOfThatTime) {
  EXPECT_EQ(from_string("int8_weight_only", "null")["_type"], "Int8WeightOnlyConfig");
  EXPECT_EQ(from_string("int8_dynamic_activation_int8_weight", "{}")["_type"],
            "Int8DynamicActivationInt8WeightConfig");
  EXPECT_EQ(from_string("int8_dynamic_activation_int4_weight", "{}")["_type"],
            "Int8DynamicActivationIntxWeightConfig");
  EXPECT_EQ(from_string("float8_weight_only", "{}")["_type"], "Float8WeightOnlyConfig");
  EXPECT_EQ(from_string("float8_dynamic_activation_float8_weight", "{}")["_type"],
            "Float8DynamicActivationFloat8WeightConfig");
}

TEST(StringQuantType, KwargsAreConstructorKeywords) {
  const Json config = from_string(
      "int4_weight_only",
      R"({"group_size": 32, "layout": ["TensorCoreTiledLayout", {"inner_k_tiles": 8}]})");
  EXPECT_EQ(config["_data"]["group_size"], 32);
  EXPECT_EQ(config["_data"]["int4_packing_format"]["_data"], "TILE_PACKED_TO_4D");
  EXPECT_THROW(from_string("int4_weight_only", R"({"layout": ["MarlinSparseLayout", {}]})"),
               ConfigError);
}

TEST(StringQuantType, OthersAndBadKwargsAreRefused) {
  for (const char* name : {"autoquant", "", "int8wo", "INT8_WEIGHT_ONLY"}) {
    try {
      upgrade_string_quant_type(name, nullptr, nullptr);
      ADD_FAILURE() << name << " was accepted";
    } catch (const ConfigError& e) {
      EXPECT_EQ(e.kind(), "legacy_config") << name;
      EXPECT_THAT(e.what(), HasSubstr("int4_weight_only, int8_weight_only"));
    }
  }
  try {
    upgrade_string_quant_type("int8_weight_only", Json::parse("[1]"), nullptr);
    ADD_FAILURE() << "a list was accepted";
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.kind(), "validation");
    EXPECT_THAT(e.what(), HasSubstr("quant_type_kwargs is an array"));
  }
}

}  // namespace
}  // namespace torchao_cpp
