// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/torchao_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "config/config_type.h"
#include "selection/fqn_rules.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Source = LayerDecision::Source;

// A, B and C are three configs that differ; null is "leave alone".
Json config_json(const std::string& name) {
  if (name == "null") return nullptr;
  const char* granularity = name == "A"   ? R"({"_type": "PerRow", "_data": {}})"
                            : name == "B" ? R"({"_type": "PerTensor", "_data": {}})"
                                          : R"({"_type": "PerGroup", "_data": {"group_size": 32}})";
  return Json{{"_type", "Int8WeightOnlyConfig"},
              {"_version", 2},
              {"_data", Json{{"granularity", Json::parse(granularity)}}}};
}

std::string letter(const ConfigPtr& config) {
  if (config == nullptr) return "null";
  const Json granularity = config->data().fields["granularity"];
  if (granularity["_type"] == "PerRow") return "A";
  return granularity["_type"] == "PerTensor" ? "B" : "C";
}

using Rules = std::vector<std::pair<std::string, std::string>>;

std::string map_text(const Rules& rules, const std::string& field = "module_fqn_to_config") {
  Json map = Json::object();
  for (const auto& [key, name] : rules) map[key] = config_json(name);
  Json data = Json::object();
  data[field] = map;
  return Json{{"_type", "FqnToConfig"}, {"_version", 1}, {"_data", data}}.dump();
}

// A map read as a quantization_config with modules_to_not_convert.
TorchAOConfig with_rules(const Rules& rules, const std::vector<std::string>& skips = {}) {
  Json config = Json::object();
  config["quant_method"] = "torchao";
  config["quant_type"]["default"] = Json::parse(map_text(rules));
  config["modules_to_not_convert"] = skips;
  return TorchAOConfig::from_config(config.dump());
}

TorchAOConfig whole_model(const std::vector<std::string>& skips = {}) {
  return TorchAOConfig(config_from_dict(config_json("A").dump()), skips, true);
}

TorchAOConfig vllm(TorchAOConfig config) {
  config.set_selection_mode(SelectionMode::kVllm);
  return config;
}

TorchAOConfig packed(TorchAOConfig config) {
  config.set_packed_modules_mapping(
      {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}}, {"gate_up_proj", {"gate_proj", "up_proj"}}});
  return config;
}

void expect_decision(const TorchAOConfig& config, std::string_view prefix, const std::string& name,
                     Source source, std::string_view rule) {
  const LayerDecision decision = config.decide(prefix);
  EXPECT_EQ(letter(decision.config), name) << prefix << ": " << decision.reason;
  EXPECT_EQ(decision.source, source) << prefix << ": " << decision.reason;
  EXPECT_EQ(decision.rule, rule) << prefix;
  EXPECT_FALSE(decision.reason.empty()) << prefix;
}

FqnRules rules_of(const Rules& rules) { return FqnRules(config_from_dict(map_text(rules))); }

TEST(FqnRules, FindsExactNamesAndTheDefault) {
  const FqnRules rules = rules_of({{"a.b", "A"}, {"_default", "B"}});
  ASSERT_NE(rules.find_exact("a.b"), nullptr);
  EXPECT_EQ(letter(rules.find_exact("a.b")->second), "A");
  EXPECT_EQ(rules.find_exact("a.b.c"), nullptr);
  EXPECT_EQ(letter(rules.find_default()->second), "B");
  EXPECT_EQ(rules_of({{"a", "A"}}).find_default(), nullptr);
}

TEST(FqnRules, TheFirstPatternInFileOrderWins) {
  const FqnRules rules = rules_of({{"re:.*z", "A"}, {"re:a.*", "B"}, {"re:.*", "C"}});
  const auto find = [&](std::string_view name) {
    return rules.find_regex(std::array<std::string_view, 1>{name})->first;
  };
  EXPECT_EQ(find("az"), "re:.*z");
  EXPECT_EQ(find("ab"), "re:a.*");
  EXPECT_EQ(find("b"), "re:.*");
}

TEST(FqnRules, ListsNullNamesWithoutPatternsAndDefault) {
  const FqnRules rules =
      rules_of({{"b", "null"}, {"re:x", "null"}, {"_default", "null"}, {"a", "null"}, {"c", "A"}});
  EXPECT_THAT(rules.null_names(), ElementsAre("b", "a"));
}

TEST(FqnRules, ABadPatternIsAnErrorThatNamesTheKey) {
  try {
    rules_of({{"re:a(", "A"}});
    FAIL() << "no error";
  } catch (const ConfigError& e) {
    EXPECT_EQ(e.kind(), "validation");
    EXPECT_THAT(e.what(), HasSubstr("'re:a('"));
  }
}

TEST(FqnRules, PatternsThatCompileToVeryMuchAreRefused) {
  const std::string long_repeat = "re:(?:(?:ab){80}){60}";
  Rules rules;
  for (int i = 0; i < 5000; ++i) rules.emplace_back(long_repeat + std::to_string(i), "A");
  EXPECT_THROW(rules_of(rules), ConfigError);
}

TEST(Decide, WithoutAConfigNothingIsQuantized) {
  expect_decision(TorchAOConfig(nullptr, {"a"}, false), "a", "null", Source::kNoQuantization, "");
}

TEST(Decide, OneConfigHoldsForEveryLinear) {
  for (const SelectionMode mode : {SelectionMode::kPackedModules, SelectionMode::kVllm}) {
    TorchAOConfig config = packed(whole_model({"lm_head", "layers.1"}));
    config.set_selection_mode(mode);
    expect_decision(config, "model.layers.0.self_attn.qkv_proj", "A", Source::kWholeModel, "");
    expect_decision(config, "model.layers.11.mlp.down_proj", "A", Source::kWholeModel, "");
    expect_decision(config, "model.layers.1.mlp.gate_up_proj", "null", Source::kSkipped,
                    "layers.1");
    expect_decision(config, "lm_head", "null", Source::kSkipped, "lm_head");
  }
}

TEST(Decide, ExactNameBeatsRegexAndDefault) {
  for (const bool as_vllm : {false, true}) {
    TorchAOConfig config =
        with_rules({{R"(re:model\..*)", "B"}, {"model.a", "C"}, {"_default", "A"}});
    if (as_vllm) config = vllm(config);
    expect_decision(config, "model.a", "C", Source::kExactName, "model.a");
    expect_decision(config, "model.b", "B", Source::kRegex, R"(re:model\..*)");
    expect_decision(config, "visual", "A", Source::kDefault, "_default");
  }
}

TEST(Decide, TheFirstRegexThatMatchesInFullWins) {
  for (const bool as_vllm : {false, true}) {
    TorchAOConfig config = with_rules(
        {{"re:down_proj", "A"}, {"re:.*down_proj", "B"}, {R"(re:model\.layers\.1\..*)", "C"}});
    if (as_vllm) config = vllm(config);
    expect_decision(config, "model.layers.1.down_proj", "B", Source::kRegex, "re:.*down_proj");
    expect_decision(config, "model.layers.1.up_proj", "C", Source::kRegex,
                    R"(re:model\.layers\.1\..*)");
    expect_decision(config, "model.layers.11.up_proj", "null", Source::kNoRule, "");
  }
}

TEST(Decide, ANullDecidesAndEndsTheSearch) {
  for (const bool as_vllm : {false, true}) {
    TorchAOConfig config = with_rules(
        {{"re:.*mlp.*", "null"}, {"re:.*proj", "B"}, {"_default", "null"}, {"lm_head", "A"}});
    if (as_vllm) config = vllm(config);
    expect_decision(config, "a.mlp.down_proj", "null", Source::kRegex, "re:.*mlp.*");
    expect_decision(config, "a.o_proj", "B", Source::kRegex, "re:.*proj");
    expect_decision(config, "other", "null", Source::kDefault, "_default");
    expect_decision(config, "lm_head", "A", Source::kExactName, "lm_head");
  }
}

TEST(Decide, SkipListBeatsTheExactRule) {
  for (const bool as_vllm : {false, true}) {
    TorchAOConfig config = with_rules({{"lm_head", "B"}, {"_default", "A"}}, {"lm_head"});
    if (as_vllm) config = vllm(config);
    expect_decision(config, "lm_head", "null", Source::kSkipped, "lm_head");
    EXPECT_THAT(config.decide("lm_head").reason, HasSubstr("modules_to_not_convert"));
  }
}

TEST(Decide, ANullEntryHoldsForEverythingUnderItsName) {
  const TorchAOConfig config =
      with_rules({{"layers.0", "null"}, {"layers.0.q_proj", "C"}, {"re:.*", "B"}});
  expect_decision(config, "layers.0.o_proj", "null", Source::kSkipped, "layers.0");
  expect_decision(config, "layers.01.o_proj", "B", Source::kRegex, "re:.*");
  // torchao quantizes what has a rule of its own; vLLM skips first.
  expect_decision(config, "layers.0.q_proj", "C", Source::kExactName, "layers.0.q_proj");
  expect_decision(vllm(config), "layers.0.q_proj", "null", Source::kSkipped, "layers.0");
}

TEST(Decide, ParameterNamesMatchBeforeModuleNames) {
  const TorchAOConfig config =
      with_rules({{"lm_head", "A"}, {"lm_head.weight", "B"}, {R"(re:.*down_proj\.weight)", "C"}});
  expect_decision(config, "lm_head", "B", Source::kExactName, "lm_head.weight");
  expect_decision(config, "a.down_proj", "C", Source::kRegex, R"(re:.*down_proj\.weight)");
  expect_decision(with_rules({{"lm_head.weight", "null"}, {"lm_head", "A"}}), "lm_head", "null",
                  Source::kExactName, "lm_head.weight");
}

TEST(DecideVllm, ParameterNamesNeverMatch) {
  const TorchAOConfig config = vllm(with_rules(
      {{"lm_head.weight", "null"}, {R"(re:.*down_proj\.weight)", "B"}, {"_default", "A"}}));
  expect_decision(config, "lm_head", "A", Source::kDefault, "_default");
  expect_decision(config, "a.down_proj", "A", Source::kDefault, "_default");
}

TEST(DecideVllm, NullEntriesOfFqnToConfigAloneAreNoSkipEntries) {
  const TorchAOConfig config = vllm(TorchAOConfig::from_config_dict_json(
      map_text({{"layers.0", "null"}, {"_default", "A"}}, "fqn_to_config")));
  expect_decision(config, "layers.0.q_proj", "A", Source::kDefault, "_default");
  expect_decision(config, "layers.0", "null", Source::kExactName, "layers.0");
}

TEST(DecideVllm, LooksAtTheFusedNameAlone) {
  const TorchAOConfig config =
      vllm(packed(with_rules({{"a.q_proj", "B"}, {"_default", "A"}}, {"gate_proj", "up_proj"})));
  expect_decision(config, "a.qkv_proj", "A", Source::kDefault, "_default");
  expect_decision(config, "a.gate_up_proj", "A", Source::kDefault, "_default");
  expect_decision(config, "a.q_proj", "B", Source::kExactName, "a.q_proj");
}

TEST(DecideFused, PartsThatAgreeDecide) {
  const TorchAOConfig config =
      packed(with_rules({{"re:.*(q|k)_proj", "B"}, {"a.v_proj", "B"}, {"_default", "A"}}));
  expect_decision(config, "a.qkv_proj", "B", Source::kRegex, "re:.*(q|k)_proj");
  EXPECT_THAT(config.decide("a.qkv_proj").reason, HasSubstr("'a.q_proj'"));
  expect_decision(config, "qkv_proj", "null", Source::kPartsDisagree, "");
}

TEST(DecideFused, EqualConfigsUnderDifferentRulesAgree) {
  const TorchAOConfig config = packed(with_rules({{"a.gate_proj", "B"}, {"re:a.up_proj", "B"}}));
  expect_decision(config, "a.gate_up_proj", "B", Source::kExactName, "a.gate_proj");
}

TEST(DecideFused, DisagreementNamesTheRules) {
  const TorchAOConfig config =
      packed(with_rules({{"a.q_proj", "B"}, {"re:.*k_proj", "null"}, {"_default", "B"}}));
  expect_decision(config, "a.qkv_proj", "null", Source::kPartsDisagree, "");
  const std::string reason = config.decide("a.qkv_proj").reason;
  EXPECT_THAT(reason, HasSubstr("a.q_proj by 'a.q_proj' -> Int8WeightOnlyConfig"));
  EXPECT_THAT(reason, HasSubstr("a.k_proj by 're:.*k_proj' -> unquantized"));
  EXPECT_THAT(reason, HasSubstr("a.v_proj by '_default' -> Int8WeightOnlyConfig"));
}

TEST(DecideFused, OneSkippedPartDisagreesAllSkippedAgree) {
  expect_decision(packed(whole_model({"q_proj"})), "a.qkv_proj", "null", Source::kPartsDisagree,
                  "");
  expect_decision(packed(whole_model({"q_proj", "k_proj", "v_proj"})), "a.qkv_proj", "null",
                  Source::kSkipped, "q_proj");
}

TEST(DecideFused, ARuleForTheFusedNameIsHeard) {
  const TorchAOConfig config =
      packed(with_rules({{"a.qkv_proj", "C"}, {"re:.*qkv_proj", "B"}, {"_default", "A"}}));
  expect_decision(config, "a.qkv_proj", "C", Source::kExactName, "a.qkv_proj");
  expect_decision(config, "b.qkv_proj", "B", Source::kRegex, "re:.*qkv_proj");
  expect_decision(packed(whole_model({"qkv_proj"})), "a.qkv_proj", "null", Source::kSkipped,
                  "qkv_proj");
}

TEST(DecideFused, OnlyWholeComponentsAreFusedNames) {
  const TorchAOConfig config = packed(with_rules({{"re:.*q_proj", "B"}, {"_default", "A"}}));
  expect_decision(config, "a.my_qkv_proj", "A", Source::kDefault, "_default");
  expect_decision(config, "a.qkv_proj.b", "A", Source::kDefault, "_default");
}

TEST(Decide, ARunawayPatternIsAnErrorNotAnAnswer) {
  const TorchAOConfig config = with_rules({{"re:(a+)+$", "A"}, {"_default", "B"}});
  EXPECT_THROW(config.decide(std::string(200, 'a') + "!"), ConfigError);
  expect_decision(config, std::string(200, 'b'), "B", Source::kDefault, "_default");
}

TEST(WithSkipModules, AddsToACopy) {
  const TorchAOConfig config = with_rules({{"lm_head", "null"}, {"_default", "A"}}, {"visual"});
  const TorchAOConfig more = config.with_skip_modules({"audio"});
  EXPECT_THAT(config.skip_modules(), ElementsAre("visual", "lm_head"));
  EXPECT_THAT(more.skip_modules(), ElementsAre("visual", "audio", "lm_head"));
  expect_decision(config, "audio.proj", "A", Source::kDefault, "_default");
  expect_decision(more, "audio.proj", "null", Source::kSkipped, "audio");
  EXPECT_THAT(Json::parse(more.to_quantization_config_json())["modules_to_not_convert"].dump(),
              R"(["visual","audio"])");
}

TEST(TorchAOConfig, DecidingLeavesTheSharedConfigAsItWas) {
  const ConfigPtr shared = config_from_dict(map_text({{"lm_head", "null"}, {"_default", "A"}}));
  const std::string before = config_to_dict(*shared);
  const TorchAOConfig config = packed(TorchAOConfig(shared, {"visual"}, false));
  config.decide("lm_head");
  vllm(config).with_skip_modules({"a"}).decide("a.qkv_proj");
  EXPECT_EQ(config_to_dict(*shared), before);
  EXPECT_THAT(config.skip_modules(), ElementsAre("visual"));
  EXPECT_EQ(config.selection_mode(), SelectionMode::kPackedModules);
}

TEST(TorchAOConfig, AnswersAsVllmsClass) {
  EXPECT_EQ(TorchAOConfig::get_name(), "torchao");
  EXPECT_EQ(TorchAOConfig::get_min_capability(), 75);
  EXPECT_THAT(TorchAOConfig::get_supported_act_dtypes(),
              ElementsAre(DType::kFloat32, DType::kFloat16, DType::kBFloat16));
}

}  // namespace
}  // namespace torchao_cpp
