// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "base/json.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::string kInt8 = R"({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}})";
const std::string kMap =
    R"({"_type": "FqnToConfig", "_version": 1, "_data": {"module_fqn_to_config": {"lm_head": null, "_default": )" +
    kInt8 + "}}}";

// A quantization_config around a torchao config; `more` begins with a comma.
std::string hf(const std::string& config, const std::string& more = "") {
  return R"({"quant_method": "torchao", "quant_type": {"default": )" + config + "}" + more + "}";
}

template <typename Read>
std::string error_of(Read read) {
  try {
    read();
  } catch (const Error& e) {
    return e.kind() + ": " + e.what();
  }
  return "no error";
}
std::string config_error(const std::string& json) {
  return error_of([&] { TorchAOConfig::from_config(json); });
}
std::string user_error(const std::string& text) {
  return error_of([&] { TorchAOConfig::from_user(text); });
}

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    // Tests run as processes of their own, side by side.
    std::string pattern = ::testing::TempDir() + "/torchao_config_XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no scratch folder");
    folder_ = pattern;
  }
  ~FilesTest() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  std::filesystem::path folder_;
};

TEST(FromConfig, ReadsWhatTransformersWrites) {
  const TorchAOConfig config =
      TorchAOConfig::from_config(hf(kInt8, R"(, "modules_to_not_convert": ["lm_head", "visual"],
                    "include_input_output_embeddings": true, "untie_embedding_weights": true)"));
  EXPECT_EQ(config.torchao_config()->type_name(), "Int8WeightOnlyConfig");
  EXPECT_THAT(config.skip_modules(), ElementsAre("lm_head", "visual"));
  EXPECT_TRUE(config.is_checkpoint_torchao_serialized());
  EXPECT_TRUE(config.include_input_output_embeddings());
  EXPECT_TRUE(config.untie_embedding_weights());
}

TEST(FromConfig, AbsentAndNullAreTheDefaults) {
  for (const std::string& more : {std::string(), std::string(R"(, "modules_to_not_convert": null,
                    "include_input_output_embeddings": null, "untie_embedding_weights": false)")}) {
    const TorchAOConfig config = TorchAOConfig::from_config(hf(kInt8, more));
    EXPECT_THAT(config.skip_modules(), IsEmpty());
    EXPECT_FALSE(config.include_input_output_embeddings());
    EXPECT_FALSE(config.untie_embedding_weights());
  }
}

TEST(FromConfig, NullEntriesOfModuleFqnToConfigJoinTheSkipList) {
  const TorchAOConfig config =
      TorchAOConfig::from_config(hf(kMap, R"(, "modules_to_not_convert": ["visual"])"));
  EXPECT_THAT(config.skip_modules(), ElementsAre("visual", "lm_head"));
  // vLLM does not look at fqn_to_config for this.
  EXPECT_THAT(TorchAOConfig::from_config(
                  hf(R"({"_type": "FqnToConfig", "_data": {"fqn_to_config": {"lm_head": null}}})"))
                  .skip_modules(),
              IsEmpty());
}

TEST(FromConfig, TheQuantMethodSaysWhetherTheCheckpointIsSerialized) {
  const std::string rest = R"("quant_type": {"default": )" + kInt8 + "}}";
  const auto serialized = [&](const std::string& method) {
    return TorchAOConfig::from_config("{" + method + rest).is_checkpoint_torchao_serialized();
  };
  EXPECT_TRUE(serialized(R"("quant_method": "torchao", )"));
  EXPECT_TRUE(serialized(R"("quant_method": "my_torchao_2", )"));
  EXPECT_FALSE(serialized(""));
  EXPECT_FALSE(serialized(R"("quant_method": "gptq", )"));
  EXPECT_FALSE(serialized(R"("quant_method": ["torchao"], )"));
}

TEST(FromConfig, QuantTypeMustBeSpecified) {
  for (const char* json : {"{}", R"({"quant_method": "torchao"})", R"({"quant_type": null})"}) {
    EXPECT_EQ(config_error(json), "validation: quantization_config: quant_type must be specified");
  }
}

TEST(FromConfig, QuantTypeHasExactlyTheKeyDefault) {
  const std::string two = config_error(R"({"quant_type": {"default": {}, "vision": {}}})");
  EXPECT_THAT(
      two, StartsWith("validation: quantization_config: quant_type has keys 'default', 'vision'"));
  EXPECT_THAT(two, HasSubstr("Expected only one key 'default' in quant_type dictionary"));
  EXPECT_THAT(config_error(R"({"quant_type": {}})"), HasSubstr("Expected only one key 'default'"));
  EXPECT_THAT(config_error(R"({"quant_type": {"Default": {}}})"), HasSubstr("has keys 'Default'"));
  EXPECT_THAT(config_error(R"({"quant_type": [1]})"), HasSubstr("quant_type is an array"));
}

TEST(FromConfig, WrongTypesAreNamed) {
  EXPECT_THAT(config_error("[]"), StartsWith("not_a_dict: quantization_config: is an array"));
  EXPECT_THAT(config_error(hf(kInt8, R"(, "modules_to_not_convert": "lm_head")")),
              StartsWith("validation: quantization_config: modules_to_not_convert is a string"));
  EXPECT_THAT(config_error(hf(kInt8, R"(, "modules_to_not_convert": ["a", 3])")),
              HasSubstr("modules_to_not_convert holds a number"));
  EXPECT_THAT(config_error(hf(kInt8, R"(, "untie_embedding_weights": 1)")),
              HasSubstr("untie_embedding_weights is a number; expected true or false"));
}

TEST(FromConfig, ErrorsInTheConfigSayWhere) {
  EXPECT_THAT(
      config_error(hf("null")),
      StartsWith("not_a_dict: quantization_config.quant_type.default: Expected dictionary"));
  EXPECT_THAT(
      config_error(hf(R"({"_type": "Nope", "_data": {}})")),
      StartsWith("unknown_type: quantization_config.quant_type.default: Failed to find class"));
}

TEST(FromConfig, HostileJsonIsRefused) {
  EXPECT_THAT(config_error(""), StartsWith("json: quantization_config"));
  EXPECT_THAT(config_error(hf(kInt8, R"(, "quant_method": "x")")), StartsWith("json: "));
  EXPECT_THAT(config_error(R"({"quant_type": )" + std::string(100'000, '[')), StartsWith("json: "));
  EXPECT_THAT(config_error("{\"quant_type\": \"\xff\"}"), StartsWith("json: "));
}

TEST(FromConfig, ABadPatternIsAnError) {
  const std::string error = config_error(
      hf(R"({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": {"re:(": null}}})"));
  EXPECT_THAT(error, StartsWith("validation: "));
  EXPECT_THAT(error, HasSubstr("'re:('"));
}

TEST(FromConfig, OldFormsAreUpgradedWithAWarning) {
  std::vector<ConfigWarning> warnings;
  const TorchAOConfig config = TorchAOConfig::from_config(
      R"({"quant_method": "torchao", "quant_type": "int4_weight_only", "quant_type_kwargs":
          {"group_size": 64, "layout": ["TensorCoreTiledLayout", {"inner_k_tiles": 8}]}})",
      &warnings);
  EXPECT_EQ(config.torchao_config()->type_name(), "Int4WeightOnlyConfig");
  EXPECT_EQ(config.torchao_config()->version(), 2);
  ASSERT_FALSE(warnings.empty());
  EXPECT_EQ(warnings[0].kind, "legacy_config");
  EXPECT_THAT(config_error(R"({"quant_type": "autoquant"})"), StartsWith("legacy_config: "));
  EXPECT_THAT(config_error(hf(R"({"_type": "FbgemmConfig", "_version": 1, "_data": {}})")),
              HasSubstr("written by torchao <= 0.13"));
}

TEST(FromConfigDictJson, CountsAsNotSerialized) {
  const TorchAOConfig config = TorchAOConfig::from_config_dict_json(kMap);
  EXPECT_FALSE(config.is_checkpoint_torchao_serialized());
  EXPECT_THAT(config.skip_modules(), ElementsAre("lm_head"));
  EXPECT_THAT(error_of([] { TorchAOConfig::from_config_dict_json("{"); }), StartsWith("json: "));
}

TEST_F(FilesTest, FromConfigFileNamesTheFile) {
  EXPECT_EQ(TorchAOConfig::from_config_file(write("a.json", kInt8)).torchao_config()->type_name(),
            "Int8WeightOnlyConfig");
  const std::string bad = write("bad.json", R"({"_type": "Nope", "_data": {}})");
  EXPECT_THAT(error_of([&] { TorchAOConfig::from_config_file(bad); }),
              StartsWith("unknown_type: " + bad));
  EXPECT_THROW(TorchAOConfig::from_config_file(folder_ / "absent.json"), IoError);
}

TEST_F(FilesTest, FromUserTakesFilesAndFolders) {
  const std::string whole = write("whole.json", hf(kInt8, R"(, "modules_to_not_convert": ["a"])"));
  EXPECT_THAT(TorchAOConfig::from_user(whole).skip_modules(), ElementsAre("a"));
  EXPECT_THAT(TorchAOConfig::from_user("  " + write("map.json", kMap) + "\n").skip_modules(),
              ElementsAre("lm_head"));
  write("config.json", R"({"model_type": "llama", "quantization_config": )" + hf(kMap) + "}");
  EXPECT_THAT(TorchAOConfig::from_user(folder_.string()).skip_modules(), ElementsAre("lm_head"));
  const std::string plain = write("plain.json", R"({"model_type": "llama"})");
  EXPECT_THAT(user_error(plain), HasSubstr(plain + ": has no quantization_config"));
}

TEST(FromUser, TakesShorthandsAndJson) {
  EXPECT_EQ(TorchAOConfig::from_user("int8wo").torchao_config()->type_name(),
            "Int8WeightOnlyConfig");
  EXPECT_EQ(TorchAOConfig::from_user(" " + kInt8 + " ").torchao_config()->type_name(),
            "Int8WeightOnlyConfig");
  EXPECT_THAT(
      TorchAOConfig::from_user(hf(kInt8, R"(, "modules_to_not_convert": ["a"])")).skip_modules(),
      ElementsAre("a"));
}

TEST(FromUser, WhatAPersonAsksForIsDoneAtLoad) {
  EXPECT_FALSE(TorchAOConfig::from_user(hf(kInt8)).is_checkpoint_torchao_serialized());
}

TEST(FromUser, AnUnknownWordListsTheShorthands) {
  const std::string error = user_error("int9wo");
  EXPECT_THAT(error, StartsWith("validation: the quantization 'int9wo' is no shorthand, no file"));
  EXPECT_THAT(error, HasSubstr("int8wo"));
  EXPECT_THAT(user_error(""), StartsWith("validation: the quantization is empty"));
  EXPECT_THAT(user_error(" \n"), StartsWith("validation: the quantization is empty"));
  EXPECT_THAT(user_error("{"), StartsWith("json: "));
  EXPECT_THAT(user_error("[1]"), StartsWith("not_a_dict: "));
}

TEST(ToQuantizationConfig, WritesWhatTransformersWrites) {
  const TorchAOConfig config = TorchAOConfig::from_config(hf(kInt8));
  EXPECT_EQ(
      config.to_quantization_config_json(-1),
      R"({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", )"
      R"("_version": 2, "_data": {"group_size": null, "granularity": {"_type": "PerRow", )"
      R"("_version": 1, "_data": {"dim": -1}}, "set_inductor_config": true}}}, )"
      R"("modules_to_not_convert": null, "include_input_output_embeddings": false, )"
      R"("untie_embedding_weights": false})");
}

TEST(ToQuantizationConfig, ReadsBackTheSame) {
  const TorchAOConfig config = TorchAOConfig::from_config(
      hf(kMap, R"(, "modules_to_not_convert": ["visual"], "untie_embedding_weights": true)"));
  const std::string text = config.to_quantization_config_json();
  const TorchAOConfig again = TorchAOConfig::from_config(text);
  EXPECT_EQ(again.to_quantization_config_json(), text);
  EXPECT_EQ(again.skip_modules(), config.skip_modules());
  // The null entries stay in the map and are not listed a second time.
  EXPECT_THAT(Json::parse(text)["modules_to_not_convert"].dump(), R"(["visual"])");
}

TEST(ToQuantizationConfig, NeedsAConfig) {
  EXPECT_THROW(TorchAOConfig(nullptr, {}, false).to_quantization_config_json(), ConfigError);
}

}  // namespace
}  // namespace torchao_cpp
