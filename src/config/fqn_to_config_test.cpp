// SPDX-License-Identifier: Apache-2.0
#include "config/fqn_to_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "config/config_parser.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

constexpr std::array<FieldSpec, 1> kFields{{{"group_size", "128"}}};
const ConfigType kDemoType{.name = "DemoConfig",
                           .version = 1,
                           .declares_version = true,
                           .fields = kFields,
                           .post_init = nullptr,
                           .quantize_tensor = nullptr,
                           .unsupported = "demo",
                           .summary = "",
                           .operation = ""};
const std::array<const ConfigType*, 1> kConfigs{&kDemoType};
const Workflow kWorkflow{.name = "demo", .configs = kConfigs, .tensor_types = {}};
const std::array<const Workflow*, 1> kWorkflows{&kWorkflow};

std::string demo(int group_size) {
  return R"({"_type": "DemoConfig", "_version": 1, "_data": {"group_size": )" +
         std::to_string(group_size) + "}}";
}

std::string fqn(std::string_view data, std::string_view type = "FqnToConfig") {
  return R"({"_type": ")" + std::string(type) + R"(", "_version": 1, "_data": )" +
         std::string(data) + "}";
}

ConfigPtr parse(std::string_view json, std::vector<ConfigWarning>* warnings = nullptr) {
  return config_from_wire(parse_json(json, "test"), kWorkflows, warnings);
}

std::string error_of(std::string_view json) {
  try {
    parse(json);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

std::vector<std::string> keys(const AOBaseConfig& config) {
  std::vector<std::string> out;
  for (const auto& [key, child] : config.fqn_to_config()) out.push_back(key);
  return out;
}

TEST(FqnToConfig, KeepsTheOrderOfTheFile) {
  const ConfigPtr config = parse(
      fqn(R"({"fqn_to_config": {"z": null, "re:a.*": )" + demo(1) + R"(, "a": )" + demo(2) + "}}"));
  EXPECT_TRUE(config->is_fqn_to_config());
  EXPECT_THAT(keys(*config), ElementsAre("z", "re:a.*", "a"));
  EXPECT_THAT(config_to_dict(*config),
              HasSubstr(R"("fqn_to_config": {"z": null, "re:a.*": {"_type": "DemoConfig")"));
}

TEST(FqnToConfig, ANullEntryIsAChildWithoutConfig) {
  const ConfigPtr config =
      parse(fqn(R"({"fqn_to_config": {"lm_head": null, "_default": )" + demo(32) + "}}"));
  ASSERT_EQ(config->fqn_to_config().size(), 2u);
  EXPECT_EQ(config->fqn_to_config()[0].second, nullptr);
  ASSERT_NE(config->fqn_to_config()[1].second, nullptr);
  EXPECT_EQ(config->fqn_to_config()[1].second->data().fields["group_size"], 32);
}

TEST(FqnToConfig, EitherMapBecomesTheOther) {
  const std::string both = R"({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": )"
                           R"({"a": null}, "module_fqn_to_config": {"a": null}}})";
  EXPECT_EQ(config_to_dict(*parse(fqn(R"({"fqn_to_config": {"a": null}})"))), both);
  EXPECT_EQ(config_to_dict(*parse(fqn(R"({"module_fqn_to_config": {"a": null}})"))), both);
  EXPECT_EQ(
      config_to_dict(*parse(fqn(R"({"fqn_to_config": {}, "module_fqn_to_config": {"a": null}})"))),
      both);
}

TEST(FqnToConfig, OldNamesReadAndAreWrittenAsToday) {
  for (const char* name : {"ModuleFqnToConfig", "AOPerModuleConfig"}) {
    const ConfigPtr config = parse(fqn(R"({"module_fqn_to_config": {"a": null}})", name));
    EXPECT_TRUE(config->is_fqn_to_config()) << name;
    EXPECT_EQ(config->type_name(), "FqnToConfig") << name;
  }
}

TEST(FqnToConfig, NamesAreExact) {
  EXPECT_TRUE(is_fqn_to_config_name("FqnToConfig"));
  EXPECT_TRUE(is_fqn_to_config_name("ModuleFqnToConfig"));
  EXPECT_TRUE(is_fqn_to_config_name("AOPerModuleConfig"));
  EXPECT_FALSE(is_fqn_to_config_name("fqntoconfig"));
  EXPECT_FALSE(is_fqn_to_config_name("FqnToConfigs"));
  EXPECT_FALSE(is_fqn_to_config_name(""));
}

TEST(FqnToConfig, EmptyMapsMeanNoRule) {
  const ConfigPtr config = parse(fqn("{}"));
  EXPECT_THAT(config->fqn_to_config(), IsEmpty());
  EXPECT_EQ(config_to_dict(*config), R"({"_type": "FqnToConfig", "_version": 1, "_data": )"
                                     R"({"fqn_to_config": {}, "module_fqn_to_config": {}}})");
}

TEST(FqnToConfig, EqualMapsMayDifferInOrder) {
  const ConfigPtr config =
      parse(fqn(R"({"fqn_to_config": {"a": null, "b": )" + demo(1) +
                R"(}, "module_fqn_to_config": {"b": )" + demo(1) + R"(, "a": null}})"));
  EXPECT_THAT(keys(*config), ElementsAre("a", "b"));
}

TEST(FqnToConfig, DifferentMapsAreRefused) {
  const std::array<std::string, 3> others{R"({"b": null})", R"({"a": null, "b": null})",
                                          R"({"a": )" + demo(1) + "}"};
  for (const std::string& other : others) {
    const std::string error =
        error_of(fqn(R"({"fqn_to_config": {"a": null}, "module_fqn_to_config": )" + other + "}"));
    EXPECT_THAT(error, StartsWith("validation: Failed to create instance of FqnToConfig")) << other;
    EXPECT_THAT(error, HasSubstr("are both specified and are not equal")) << other;
  }
}

TEST(FqnToConfig, TheDefaultKeyIsWarnedAboutOnce) {
  std::vector<ConfigWarning> warnings;
  parse(fqn(R"({"module_fqn_to_config": {"_default": null, "a": null}})"), &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, "default_key_deprecated");
  EXPECT_THAT(warnings[0].message, HasSubstr("_default"));

  warnings.clear();
  parse(fqn(R"({"fqn_to_config": {"default": null}})"), &warnings);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(FqnToConfig, EntriesMustBeConfigsOrNull) {
  for (const char* entry :
       {"3", R"("DemoConfig")", "[]", "{}", "false", R"({"_type": "torch.dtype", "_data": "int8"})",
        R"({"_type": "PerRow", "_data": {}})"}) {
    const std::string error =
        error_of(fqn(R"({"fqn_to_config": {"layer.name": )" + std::string(entry) + "}}"));
    EXPECT_THAT(error, StartsWith("validation: ")) << entry;
    EXPECT_THAT(error, HasSubstr("'layer.name'")) << entry;
  }
}

TEST(FqnToConfig, AMapMustBeAnObject) {
  for (const std::string& map :
       {std::string("null"), std::string("[]"), std::string("3"), std::string(R"("a")"), demo(1)}) {
    EXPECT_THAT(error_of(fqn(R"({"fqn_to_config": )" + map + "}")),
                StartsWith("validation: FqnToConfig.fqn_to_config: "))
        << map;
  }
}

TEST(FqnToConfig, AnErrorInAnEntryNamesItsKey) {
  const std::string error = error_of(
      fqn(R"({"module_fqn_to_config": {"a": null, "re:x": {"_type": "Nope", "_data": {}}}})"));
  EXPECT_THAT(error, StartsWith("unknown_type: FqnToConfig.module_fqn_to_config['re:x']: "));
}

TEST(FqnToConfig, UnknownFieldsAreRefused) {
  EXPECT_THAT(error_of(fqn(R"({"fqn": {}})")), StartsWith("unknown_field: "));
}

TEST(FqnToConfig, AnotherVersionLoadsWithAWarning) {
  std::vector<ConfigWarning> warnings;
  EXPECT_EQ(parse(R"({"_type": "FqnToConfig", "_version": 2, "_data": {}})", &warnings)->version(),
            2);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, "version_mismatch");
}

TEST(FqnToConfig, DuplicateKeysAreRefusedBeforeTheMap) {
  EXPECT_THAT(error_of(fqn(R"({"fqn_to_config": {"a": null, "a": )" + demo(1) + "}}")),
              StartsWith("json: "));
}

TEST(FqnToConfig, DeepNestingIsRefusedBeforeTheMap) {
  std::string json = "null";
  for (int i = 0; i < 1'000; ++i) json = R"({"_type":"FqnToConfig","_data":{"a":)" + json + "}}";
  EXPECT_THAT(error_of(json), StartsWith("json: "));
}

TEST(MergeFqnMaps, FillsBothFieldsAndReturnsTheChildren) {
  ConfigData data;
  const auto children = merge_fqn_maps({{"b", nullptr, nullptr}, {"a", nullptr, nullptr}}, {}, data,
                                       /*warnings=*/nullptr);
  ASSERT_EQ(children.size(), 2u);
  EXPECT_EQ(children[0].first, "b");
  EXPECT_EQ(children[1].first, "a");
  EXPECT_EQ(data.fields.dump(),
            R"({"fqn_to_config":{"b":null,"a":null},"module_fqn_to_config":{"b":null,"a":null}})");
}

}  // namespace
}  // namespace torchao_cpp
