// SPDX-License-Identifier: Apache-2.0
#include "config/config_parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

// A config class as torchao's: declares `version`, checks one field and fills in another.
constexpr std::array<FieldSpec, 4> kDemoFields{{
    {"group_size", "128"},
    {"granularity", "null"},
    {"packing", R"({"_type": "Int4PackingFormat", "_data": "PLAIN"})"},
    {"extra", "null"},
}};
void check_demo(ConfigData& data, int /*version*/) {
  if (data.fields["group_size"] == 7) throw ConfigError("group_size must not be 7", "validation");
  if (data.fields["extra"] == "number") data.fields["extra"].get<int>();  // a check of a wrong type
  if (data.fields["granularity"].is_null()) data.fields["granularity"] = "filled";
}
// Declares no version and requires a field.
constexpr std::array<FieldSpec, 2> kBaseFields{{{"base_config", ""}, {"step", R"("convert")"}}};

const ConfigType kDemoType{.name = "DemoConfig",
                           .version = 2,
                           .declares_version = true,
                           .fields = kDemoFields,
                           .post_init = &check_demo,
                           .quantize_tensor = nullptr,
                           .unsupported = "demo",
                           .summary = "",
                           .operation = ""};
const ConfigType kBaseType{.name = "BaseConfig",
                           .version = 1,
                           .declares_version = false,
                           .fields = kBaseFields,
                           .post_init = nullptr,
                           .quantize_tensor = nullptr,
                           .unsupported = "demo",
                           .summary = "",
                           .operation = ""};
const std::array<const ConfigType*, 2> kConfigs{&kDemoType, &kBaseType};
const Workflow kWorkflow{.name = "demo", .configs = kConfigs, .tensor_types = {}};
const std::array<const Workflow*, 1> kWorkflows{&kWorkflow};

ConfigPtr parse(std::string_view json, std::vector<ConfigWarning>* warnings = nullptr) {
  return config_from_wire(Json::parse(json), kWorkflows, warnings);
}

// "kind: message" of what parsing throws.
std::string error_of(std::string_view json, std::string_view where = {}) {
  try {
    config_from_wire(Json::parse(json), kWorkflows, nullptr, where);
  } catch (const ConfigError& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}

std::string demo(std::string_view data, std::string_view version = "2") {
  return R"({"_type": "DemoConfig", "_version": )" + std::string(version) + R"(, "_data": )" +
         std::string(data) + "}";
}

Json field(std::string_view data, const std::string& name) {
  return parse(demo(data))->data().fields[name];
}

TEST(ConfigFromWire, FillsDefaultsInDeclarationOrder) {
  const ConfigPtr config = parse(demo(R"({"extra": 1.5, "group_size": 32})"));
  EXPECT_EQ(config->type_name(), "DemoConfig");
  EXPECT_EQ(config->version(), 2);
  EXPECT_FALSE(config->is_fqn_to_config());
  EXPECT_EQ(config_to_dict(*config),
            R"({"_type": "DemoConfig", "_version": 2, "_data": {"group_size": 32, )"
            R"("granularity": "filled", "packing": {"_type": "Int4PackingFormat", "_data": )"
            R"("PLAIN"}, "extra": 1.5}})");
}

TEST(ConfigFromWire, ReadsBackWhatItWrites) {
  const std::string text = config_to_dict(*parse(demo(R"({"packing": "preshuffled"})")));
  EXPECT_EQ(config_to_dict(*parse(text)), text);
}

TEST(ConfigFromWire, RefusesWhatIsNoObject) {
  for (const char* json : {"null", "true", "3", R"("DemoConfig")", "[]"}) {
    EXPECT_THAT(error_of(json), StartsWith("not_a_dict: Expected dictionary, got ")) << json;
  }
}

TEST(ConfigFromWire, NeedsTypeAndData) {
  for (const char* json : {"{}", R"({"_type": "DemoConfig", "_version": 2})", R"({"_data": {}})"}) {
    EXPECT_THAT(error_of(json), StartsWith("missing_type_or_data: ")) << json;
    EXPECT_THAT(error_of(json), HasSubstr("missing required '_type' or '_data'")) << json;
  }
}

TEST(ConfigFromWire, FindsClassesByBareNameAlone) {
  for (const char* type :
       {R"("Int9Config")", R"("torchao.quantization.DemoConfig")", R"("democonfig")", R"("")",
        R"("TensorCoreTiledLayout")", R"("Int8Tensor")"}) {
    const std::string json = R"({"_type": )" + std::string(type) + R"(, "_data": {}})";
    EXPECT_THAT(error_of(json), StartsWith("unknown_type: Failed to find class ")) << type;
  }
  for (const char* type : {"3", "null", "{}", "[]"}) {
    const std::string json = R"({"_type": )" + std::string(type) + R"(, "_data": {}})";
    EXPECT_THAT(error_of(json), StartsWith("unknown_type: ")) << type;
  }
}

TEST(ConfigFromWire, IgnoresExtraKeysBesideTheThree) {
  const ConfigPtr config =
      parse(R"({"_type": "DemoConfig", "_version": 2, "_data": {}, "note": {"_type": "Nope"}})");
  EXPECT_THAT(config_to_dict(*config), Not(HasSubstr("note")));
}

TEST(ConfigVersion, AbsentMeans1) {
  std::vector<ConfigWarning> warnings;
  EXPECT_EQ(parse(R"({"_type": "DemoConfig", "_data": {}})", &warnings)->version(), 1);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].kind, "version_mismatch");
  EXPECT_THAT(warnings[0].message, HasSubstr("DemoConfig: stored version 1"));
}

TEST(ConfigVersion, AnotherIntegerIsKeptWithAWarning) {
  std::vector<ConfigWarning> warnings;
  EXPECT_EQ(parse(demo("{}", "3"), &warnings)->version(), 3);
  EXPECT_EQ(warnings.size(), 1u);
}

TEST(ConfigVersion, TheCurrentOneGivesNoWarning) {
  std::vector<ConfigWarning> warnings;
  parse(demo("{}"), &warnings);
  parse(demo("{}", "2.0"), &warnings);  // equal in Python
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(ConfigVersion, MustBeAnInteger) {
  for (const char* version : {R"("2")", "null", "2.5", "[]", "99999999999", "-99999999999"}) {
    EXPECT_THAT(error_of(demo("{}", version)), StartsWith("version_not_accepted: ")) << version;
  }
}

TEST(ConfigVersion, AClassWithoutTheArgumentAcceptsOnly1) {
  const auto base = [](std::string_view version) {
    return R"({"_type": "BaseConfig", "_version": )" + std::string(version) +
           R"(, "_data": {"base_config": 1}})";
  };
  EXPECT_EQ(error_of(base("1")), "no error");
  EXPECT_EQ(error_of(base("true")), "no error");  // equal in Python
  EXPECT_THAT(error_of(base("2")),
              StartsWith("version_not_accepted: Failed to create instance of BaseConfig"));
  EXPECT_THAT(error_of(demo(R"({"extra": {"_type": "PerRow", "_version": 2, "_data": {}}})")),
              StartsWith("version_not_accepted: "));
}

TEST(ConfigVersion, IsAnArgumentOnlyWhereTheClassDeclaresIt) {
  EXPECT_EQ(parse(demo(R"({"version": 3})"))->version(), 3);
  EXPECT_THAT(error_of(R"({"_type": "BaseConfig", "_data": {"base_config": 1, "version": 1}})"),
              HasSubstr("'version'"));
}

TEST(ConfigFields, UnknownOnesAreErrors) {
  const std::string error = error_of(demo(R"({"layout": null})"));
  EXPECT_THAT(error, StartsWith("unknown_field: Failed to create instance of DemoConfig"));
  EXPECT_THAT(error, HasSubstr("'layout'"));
  EXPECT_THAT(error, HasSubstr("group_size, granularity, packing, extra"));
  EXPECT_THAT(error_of(demo(R"({"extra": {"_type": "PerTensor", "_data": {"dim": 1}}})")),
              StartsWith("unknown_field: "));
}

TEST(ConfigFields, MissingRequiredOnesAreErrors) {
  EXPECT_THAT(
      error_of(R"({"_type": "BaseConfig", "_data": {}})"),
      StartsWith("missing_field: Failed to create instance of BaseConfig: missing required field "
                 "'base_config'"));
  EXPECT_THAT(error_of(demo(R"({"extra": {"_type": "PerGroup", "_data": {}}})")),
              StartsWith("missing_field: "));
}

TEST(ConfigFields, PlainTypesAreNotChecked) {
  EXPECT_EQ(field(R"({"group_size": "128"})", "group_size"), "128");
  EXPECT_EQ(field(R"({"group_size": -1})", "group_size"), -1);
  EXPECT_EQ(field(R"({"packing": "no_such_format"})", "packing"), "no_such_format");
}

TEST(ConfigFields, AStringEnumStaysTheStringItWas) {
  EXPECT_EQ(field(R"({"packing": "preshuffled"})", "packing"), "preshuffled");
}

TEST(ConfigFields, EnumMembersAreChecked) {
  const auto with = [](std::string_view data) {
    return demo(R"({"packing": {"_type": "Int4PackingFormat", "_data": )" + std::string(data) +
                "}}");
  };
  EXPECT_THAT(error_of(with(R"("plain")")), StartsWith("bad_enum_or_dtype_name: "));
  EXPECT_THAT(error_of(with(R"("plain")")), HasSubstr("PLAIN, PRESHUFFLED"));
  EXPECT_THAT(error_of(with("5")), StartsWith("bad_enum_or_dtype_name: "));
  EXPECT_THAT(error_of(with("{}")), StartsWith("validation: "));
}

TEST(ConfigFields, AnAliasedMemberIsWrittenUnderItsCanonicalName) {
  EXPECT_EQ(field(R"({"extra": {"_type": "Float8PackingFormat", "_data": "SPARSE_CUTLASS"}})",
                  "extra")["_data"],
            "SPARSE_2D_DATA_2D_METADATA");
}

TEST(ConfigFields, DTypesAreCheckedAndWrittenAsTorchPrintsThem) {
  EXPECT_EQ(field(R"({"extra": {"_type": "torch.dtype", "_data": "half"}})", "extra").dump(),
            R"({"_type":"torch.dtype","_data":"float16"})");
  for (const char* data : {R"("int9")", "8", "{}"}) {
    const std::string json = R"({"extra": {"_type": "torch.dtype", "_data": )" + std::string(data);
    EXPECT_THAT(error_of(demo(json + "}}")), StartsWith("bad_enum_or_dtype_name: ")) << data;
  }
}

TEST(ConfigFields, NestedClassesAreCompleted) {
  EXPECT_EQ(field(R"({"granularity": {"_type": "PerRow", "_data": {}}})", "granularity").dump(),
            R"({"_type":"PerRow","_version":1,"_data":{"dim":-1}})");
}

TEST(ConfigFields, DataThatIsNoObjectIsThePositionalArgument) {
  EXPECT_EQ(field(R"({"granularity": {"_type": "PerRow", "_data": 0}})", "granularity").dump(),
            R"({"_type":"PerRow","_version":1,"_data":{"dim":0}})");
}

TEST(ConfigFields, ArraysAndObjectsAreDecodedOneLevelDown) {
  EXPECT_EQ(field(R"({"extra": [{"_type": "PerRow", "_data": {}}, 3]})", "extra").dump(),
            R"([{"_type":"PerRow","_version":1,"_data":{"dim":-1}},3])");
  EXPECT_EQ(field(R"({"extra": [[{"_type": "Nope", "_data": {}}]]})", "extra").dump(),
            R"([[{"_type":"Nope","_data":{}}]])");
  const std::string error = error_of(demo(R"({"extra": [1, {"_type": "Nope", "_data": {}}]})"));
  EXPECT_THAT(error, StartsWith("unknown_type: DemoConfig.extra[1]: "));
}

TEST(ConfigFields, AConfigInsideAConfigIsParsed) {
  const ConfigPtr config =
      parse(R"({"_type": "BaseConfig", "_data": {"base_config": )" + demo("{}") + "}}");
  EXPECT_EQ(config->data().fields["base_config"]["_data"]["group_size"], 128);
  EXPECT_THAT(
      error_of(R"({"_type": "BaseConfig", "_data": {"base_config": )" + demo(R"({"x": 1})") + "}}"),
      StartsWith("unknown_field: BaseConfig.base_config: "));
}

TEST(PostInit, ItsErrorsNameTheClass) {
  EXPECT_EQ(error_of(demo(R"({"group_size": 7})")),
            "validation: Failed to create instance of DemoConfig: group_size must not be 7");
}

TEST(PostInit, AWrongTypeIsAValidationError) {
  EXPECT_THAT(error_of(demo(R"({"extra": "number"})")),
              StartsWith("validation: Failed to create instance of DemoConfig: a field has an "
                         "unexpected type"));
}

TEST(ConfigFromWire, AValueThatIsNoConfigIsRefused) {
  for (const char* json : {R"({"_type": "torch.dtype", "_data": "int8"})",
                           R"({"_type": "MappingType", "_data": "SYMMETRIC"})",
                           R"({"_type": "PerRow", "_version": 1, "_data": {}})"}) {
    EXPECT_THAT(error_of(json), StartsWith("validation: ")) << json;
    EXPECT_THAT(error_of(json), HasSubstr("is no config")) << json;
  }
}

TEST(ConfigFromWire, WhereStandsInFrontOfMessages) {
  EXPECT_THAT(error_of("3", "config.json: quant_type"),
              StartsWith("not_a_dict: config.json: quant_type: Expected dictionary"));
  EXPECT_THAT(error_of(demo(R"({"x": 1})"), "here"), StartsWith("unknown_field: here: "));
}

TEST(FindConfigType, KnowsTheGivenConfigsAndFqnToConfig) {
  EXPECT_EQ(find_config_type("BaseConfig", kWorkflows), &kBaseType);
  EXPECT_EQ(find_config_type("FqnToConfig", {})->name, "FqnToConfig");
  EXPECT_EQ(find_config_type("BaseConfig", {}), nullptr);
  EXPECT_EQ(find_config_type("", kWorkflows), nullptr);
}

}  // namespace
}  // namespace torchao_cpp
