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

Json opt_config() {
  return Json{{"architectures", {"OPTForCausalLM"}},
              {"model_type", "opt"},
              {"vocab_size", 48},
              {"hidden_size", 64},
              {"ffn_dim", 96},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"max_position_embeddings", 64}};
}

Json with(Json json, const char* key, const Json& value) {
  json[key] = value;
  return json;
}

Json as(const char* architecture) { return with(small_config(), "architectures", {architecture}); }

TEST(DecoderConfig, BiasesAreWhereTheArchitectureHasThem) {
  struct Biases {
    const char* architecture;
    bool qkv, o, mlp;
  };
  for (const Biases& want : {Biases{"LlamaForCausalLM", true, true, true},
                             Biases{"MistralForCausalLM", false, false, false},
                             Biases{"Qwen2ForCausalLM", true, false, false},
                             Biases{"Qwen3ForCausalLM", true, true, false},
                             Biases{"SmolLM3ForCausalLM", true, true, true}}) {
    Json json = as(want.architecture);
    json["mlp_bias"] = true;
    json["attention_bias"] = true;
    const DecoderConfig config = read(json);
    EXPECT_EQ(config.qkv_bias, want.qkv) << want.architecture;
    EXPECT_EQ(config.o_bias, want.o) << want.architecture;
    EXPECT_EQ(config.mlp_bias, want.mlp) << want.architecture;
    EXPECT_EQ(read(as(want.architecture)).qkv_bias,
              config.architecture->name == "Qwen2ForCausalLM");
  }
}

TEST(DecoderConfig, EmbeddingsAreTiedWhereNothingIsSaidAsInTransformers) {
  const auto is_tied = [](Json json) {
    json.erase("tie_word_embeddings");
    return read(json).tie_word_embeddings;
  };
  EXPECT_TRUE(is_tied(opt_config()));
  EXPECT_TRUE(is_tied(as("SmolLM3ForCausalLM")));
  for (const char* name : {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"})
    EXPECT_FALSE(is_tied(as(name))) << name;
  EXPECT_FALSE(read(with(opt_config(), "tie_word_embeddings", false)).tie_word_embeddings);
}

TEST(DecoderConfig, OptHasItsOwnKeys) {
  const DecoderConfig config = read(opt_config());
  EXPECT_EQ(config.intermediate_size, 96);
  EXPECT_EQ(config.embedding_dim, 64);
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.norm_eps, 1e-5F);
  EXPECT_TRUE(config.qkv_bias && config.o_bias && config.mlp_bias && config.has_norm_weights);
  EXPECT_FALSE(config.is_post_norm || config.is_projected());
  EXPECT_THAT(config.rotates, testing::ElementsAre(false, false));
  Json other = opt_config();
  other.erase("max_position_embeddings");
  other["enable_bias"] = false;
  other["do_layer_norm_before"] = false;
  other["_remove_final_layer_norm"] = true;  // There is none to remove.
  other["layer_norm_elementwise_affine"] = false;
  other["word_embed_proj_dim"] = 32;
  other["init_std"] = 0.5;
  other["rms_norm_eps"] = 0.1;
  other["hidden_act"] = "gelu";
  const DecoderConfig plain = read(other);
  EXPECT_EQ(plain.max_position_embeddings, 2048);
  EXPECT_EQ(plain.embedding_dim, 32);
  EXPECT_EQ(plain.initializer_range, 0.5);
  EXPECT_EQ(plain.norm_eps, 1e-5F);
  EXPECT_TRUE(plain.is_post_norm && plain.is_projected());
  EXPECT_FALSE(plain.qkv_bias || plain.o_bias || plain.mlp_bias || plain.has_norm_weights);
}

TEST(DecoderConfig, SmolLm3LeavesLayersUnrotated) {
  Json json = with(as("SmolLM3ForCausalLM"), "num_hidden_layers", 5);
  EXPECT_THAT(read(json).rotates, testing::ElementsAre(true, true, true, false, true));
  EXPECT_EQ(read(json).rope.rope_theta, 2e6);
  EXPECT_EQ(read(with(json, "rope_theta", 5e6)).rope.rope_theta, 5e6);
  EXPECT_THAT(read(with(json, "no_rope_layer_interval", 2)).rotates,
              testing::ElementsAre(true, false, true, false, true));
  EXPECT_THAT(read(with(json, "no_rope_layers", {0, 1, 1, 0, 1, 0})).rotates,
              testing::ElementsAre(false, true, true, false, true));
  try {
    read(with(json, "no_rope_layers", {0, 1}));
    ADD_FAILURE() << "no ConfigError";
  } catch (const ConfigError& e) {
    EXPECT_THAT(e.what(),
                HasSubstr("no_rope_layers has 2 entries; expected one for each of the 5"));
  }
  // Of others the key means nothing.
  EXPECT_THAT(read(with(small_config(), "no_rope_layers", {0, 0})).rotates,
              testing::ElementsAre(true, true));
}

TEST(DecoderConfig, RefusesWhatDoesNotRunHere) {
  EXPECT_THAT(message_with("architectures", {"FooForCausalLM"}),
              HasSubstr("architecture 'FooForCausalLM' is not supported; supported: "
                        "'LlamaForCausalLM', 'MistralForCausalLM', 'OPTForCausalLM'"));
  EXPECT_THAT(message_with("hidden_act", "gelu"), HasSubstr("hidden_act is 'gelu'"));
  EXPECT_THAT(message_with("layer_types", {"full_attention", "sliding_attention"}),
              HasSubstr("'sliding_attention'"));
  EXPECT_THAT(message_with("head_dim", 1024), HasSubstr("head_dim is 1024"));
  EXPECT_THAT(message_with("rope_scaling", Json{{"type", "yarn"}, {"factor", 4.0}}),
              HasSubstr("rope type 'yarn'"));
  const auto opt_message = [](const char* key, const Json& value) {
    try {
      read(with(opt_config(), key, value));
    } catch (const UnsupportedError& e) {
      return std::string(e.what());
    }
    return std::string("no UnsupportedError");
  };
  EXPECT_EQ(opt_message("activation_function", "gelu"),
            "config.json: activation_function is 'gelu'; only 'relu' is supported");
  EXPECT_THAT(opt_message("_remove_final_layer_norm", true),
              HasSubstr("_remove_final_layer_norm is true; only false is supported"));
}

// As long as no sequence is longer than the window.
TEST(DecoderConfig, SlidingWindowLimitsTheLength) {
  const auto length = [](Json json) {
    json["max_position_embeddings"] = 8192;
    return read(json).max_length;
  };
  const Json mistral = as("MistralForCausalLM");
  EXPECT_EQ(length(mistral), 4096);  // Where the file is silent.
  EXPECT_EQ(length(with(mistral, "sliding_window", nullptr)), 8192);
  EXPECT_EQ(length(with(mistral, "sliding_window", 128)), 128);
  EXPECT_EQ(length(with(mistral, "sliding_window", 10000)), 8192);
  EXPECT_EQ(read(with(mistral, "sliding_window", 10)).max_length_key, "sliding_window");
  for (const char* name : {"Qwen2ForCausalLM", "Qwen3ForCausalLM", "SmolLM3ForCausalLM"}) {
    Json json = with(as(name), "sliding_window", 128);
    EXPECT_EQ(length(json), 8192) << name;
    EXPECT_EQ(length(with(json, "use_sliding_window", false)), 8192) << name;
    EXPECT_EQ(length(with(json, "use_sliding_window", true)), 128) << name;
  }
  Json unknown = with(mistral, "sliding_window", 128);
  unknown.erase("max_position_embeddings");
  EXPECT_EQ(read(unknown).max_length, 128);
}

TEST(DecoderConfig, NamesWhatIsMissing) {
  Json json = small_config();
  json.erase("intermediate_size");
  EXPECT_THROW(read(json), ConfigError);
  EXPECT_THROW(read(Json::object()), ConfigError);
  Json opt = opt_config();
  opt.erase("ffn_dim");
  opt["intermediate_size"] = 96;
  EXPECT_THROW(read(opt), ConfigError);
  EXPECT_THROW(read(with(opt_config(), "num_attention_heads", 5)), ConfigError);
}

}  // namespace
}  // namespace torchao_cpp
