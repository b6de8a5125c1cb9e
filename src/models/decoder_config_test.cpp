// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using testing::HasSubstr;

Json small_config() {
  return Json{{"architectures", {"Qwen3ForCausalLM"}},
              {"model_type", "qwen3"},
              {"vocab_size", 48},
              {"hidden_size", 64},
              {"intermediate_size", 96},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"head_dim", 16},
              {"max_position_embeddings", 64},
              {"tie_word_embeddings", true},
              {"eos_token_id", {2, 3}}};
}

DecoderConfig read(const Json& json) {
  return DecoderConfig::from_hf_config(HfConfig::parse(json.dump(), "config.json"));
}

std::string message_with(const char* key, const Json& value) {
  Json json = small_config();
  json[key] = value;
  try {
    read(json);
  } catch (const UnsupportedError& e) {
    return e.what();
  }
  return "no UnsupportedError";
}

TEST(DecoderConfig, TakesSizesAndSwitches) {
  const DecoderConfig config = read(small_config());
  EXPECT_EQ(config.architecture->name, "Qwen3ForCausalLM");
  EXPECT_TRUE(config.architecture->has_qk_norm);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_THAT(config.eos_token_ids, testing::ElementsAre(2, 3));
}

TEST(DecoderConfig, MlpBiasIsLlamasAlone) {
  Json json = small_config();
  json["mlp_bias"] = true;
  json["attention_bias"] = true;
  EXPECT_FALSE(read(json).mlp_bias);
  json["architectures"] = {"LlamaForCausalLM"};
  EXPECT_TRUE(read(json).mlp_bias);
  EXPECT_TRUE(read(json).attention_bias);
}

TEST(DecoderConfig, RefusesWhatDoesNotRunHere) {
  EXPECT_THAT(message_with("architectures", {"OPTForCausalLM"}),
              HasSubstr("architecture 'OPTForCausalLM' is not supported; supported: "
                        "'LlamaForCausalLM', 'Qwen3ForCausalLM'"));
  EXPECT_THAT(message_with("hidden_act", "gelu"), HasSubstr("hidden_act is 'gelu'"));
  EXPECT_THAT(message_with("sliding_window", 128), HasSubstr("sliding_window is 128"));
  EXPECT_THAT(message_with("layer_types", {"full_attention", "sliding_attention"}),
              HasSubstr("'sliding_attention'"));
  EXPECT_THAT(message_with("head_dim", 1024), HasSubstr("head_dim is 1024"));
  EXPECT_THAT(message_with("rope_scaling", Json{{"type", "yarn"}, {"factor", 4.0}}),
              HasSubstr("rope type 'yarn'"));
}

TEST(DecoderConfig, UnusedSlidingWindowIsNoMatter) {
  Json json = small_config();
  json["sliding_window"] = 128;
  json["use_sliding_window"] = false;
  EXPECT_NO_THROW(read(json));
}

TEST(DecoderConfig, NamesWhatIsMissing) {
  Json json = small_config();
  json.erase("intermediate_size");
  EXPECT_THROW(read(json), ConfigError);
  EXPECT_THROW(read(Json::object()), ConfigError);
}

}  // namespace
}  // namespace torchao_cpp
