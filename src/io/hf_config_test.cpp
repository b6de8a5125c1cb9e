// SPDX-License-Identifier: Apache-2.0
#include "io/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/testing_files.h"

namespace torchao_cpp {
namespace {

using testing_files::kind_of;
using testing_files::message_of;
using testing_files::ScratchFolder;
using testing_files::write_text;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

HfConfig parse(std::string_view text, std::string_view generation = {}) {
  return HfConfig::parse(text, "DIR/config.json", generation);
}

TEST(HfConfig, ReadsTheDemoModel) {
  const HfConfig c = HfConfig::load(TORCHAO_CPP_DEMO_MODEL);
  EXPECT_THAT(c.architectures, ElementsAre("Qwen3ForCausalLM"));
  EXPECT_EQ(c.model_type, "qwen3");
  EXPECT_EQ(c.vocab_size, 8192);
  EXPECT_EQ(c.hidden_size, 384);
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.num_key_value_heads, 2);
  EXPECT_EQ(c.rope.rope_theta, 10000.0);
  EXPECT_EQ(c.rope.rope_type, "default");
  EXPECT_EQ(c.tie_word_embeddings, true);
  EXPECT_EQ(c.dtype, DType::kBFloat16);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(8189, 8191));  // generation_config.json decides
  EXPECT_FALSE(c.bos_token_id.has_value());
  EXPECT_FALSE(c.sliding_window.has_value());
  EXPECT_TRUE(c.quantization_config.empty());
  c.require_decoder_sizes();
}

TEST(HfConfig, HasDefaults) {
  const HfConfig c = parse(R"({"hidden_size":64,"num_attention_heads":4,"eos_token_id":2,"pad_token_id":-1,"head_dim":null})");
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.num_key_value_heads, 4);
  EXPECT_EQ(c.rope.rope_theta, 10000.0);
  EXPECT_FALSE(c.rope.has_rope_theta);
  EXPECT_FALSE(c.tie_word_embeddings.has_value());
  EXPECT_FALSE(c.attention_bias);
  EXPECT_FALSE(c.dtype.has_value());
  EXPECT_THAT(c.eos_token_ids, ElementsAre(2));
  EXPECT_FALSE(c.pad_token_id.has_value());
}

TEST(HfConfig, ReadsEveryFormOfRope) {
  EXPECT_EQ(parse(R"({"rope_theta":5e5})").rope.rope_theta, 5e5);
  const RopeParameters v5 = parse(R"({"rope_theta":1,"rope_parameters":{"rope_theta":1000000,"rope_type":"default"}})").rope;
  EXPECT_EQ(v5.rope_theta, 1e6);
  EXPECT_TRUE(v5.has_rope_theta);
  EXPECT_EQ(v5.rope_type, "default");
  const RopeParameters scaled =
      parse(R"({"rope_theta":500000.0,"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":1.0,"x":[1]}})").rope;
  EXPECT_EQ(scaled.rope_theta, 5e5);
  EXPECT_EQ(scaled.rope_type, "llama3");
  EXPECT_EQ(scaled.numbers.at("factor"), 8.0);
  EXPECT_THAT(scaled.other_keys, ElementsAre("x"));
}

TEST(HfConfig, ReadsBothSpellingsOfDtype) {
  EXPECT_EQ(parse(R"({"dtype":"float16"})").dtype, DType::kFloat16);
  EXPECT_EQ(parse(R"({"torch_dtype":"torch.float32"})").dtype, DType::kFloat32);
  EXPECT_EQ(parse(R"({"dtype":"float16","torch_dtype":"float32"})").dtype, DType::kFloat16);
  EXPECT_FALSE(parse(R"({"dtype":"auto"})").dtype.has_value());
  EXPECT_EQ(message_of([] { parse(R"({"torch_dtype":"int8"})"); }),
            R"(DIR/config.json: torch_dtype is "int8"; expected "bfloat16", "float16" or "float32")");
}

TEST(HfConfig, KeepsTheQuantizationConfigInFileOrder) {
  EXPECT_EQ(parse(R"({"quantization_config": {"quant_method": "torchao", "b": {"z":1,"a":2}}})").quantization_config,
            R"({"quant_method":"torchao","b":{"z":1,"a":2}})");
  EXPECT_TRUE(parse(R"({"quantization_config":null})").quantization_config.empty());
}

TEST(HfConfig, SlidingWindowIsKnownFromAbsent) {
  const HfConfig given = parse(R"({"sliding_window":128,"use_sliding_window":false})");
  EXPECT_EQ(given.sliding_window, 128);
  EXPECT_EQ(given.use_sliding_window, false);
  const HfConfig none = parse(R"({"sliding_window":null})");
  EXPECT_TRUE(none.has_sliding_window);
  EXPECT_FALSE(none.sliding_window.has_value());
  EXPECT_FALSE(none.use_sliding_window.has_value());
  EXPECT_FALSE(parse("{}").has_sliding_window);
}

TEST(HfConfig, ReadsWhatOptAndSmolLm3Say) {
  const HfConfig opt = parse(
      R"({"ffn_dim":96,"word_embed_proj_dim":32,"activation_function":"gelu","enable_bias":false,"init_std":0.5,
          "layer_norm_elementwise_affine":false,"do_layer_norm_before":false,"_remove_final_layer_norm":true})");
  EXPECT_EQ(opt.ffn_dim, 96);
  EXPECT_EQ(opt.word_embed_proj_dim, 32);
  EXPECT_EQ(opt.activation_function, "gelu");
  EXPECT_EQ(opt.init_std, 0.5);
  EXPECT_FALSE(opt.enable_bias || opt.layer_norm_elementwise_affine || opt.do_layer_norm_before);
  EXPECT_TRUE(opt.remove_final_layer_norm);
  const HfConfig smol = parse(R"({"no_rope_layers":[1,0],"no_rope_layer_interval":3})");
  EXPECT_THAT(smol.no_rope_layers, ElementsAre(1, 0));
  EXPECT_EQ(smol.no_rope_layer_interval, 3);
}

TEST(HfConfig, RefusesWrongTypesNamingTheKey) {
  for (const char* text :
       {R"({"hidden_size":"64"})", R"({"hidden_size":64.0})", R"({"hidden_size":0})", R"({"hidden_size":-1})",
        R"({"hidden_size":2147483648})", R"({"hidden_size":18446744073709551615})", R"({"num_hidden_layers":100001})",
        R"({"architectures":"x"})", R"({"architectures":[1]})", R"({"model_type":1})", R"({"tie_word_embeddings":1})",
        R"({"rms_norm_eps":"1e-6"})", R"({"rms_norm_eps":0})", R"({"rope_theta":-1})", R"({"rope_scaling":[]})",
        R"({"rope_parameters":{"rope_type":1}})", R"({"eos_token_id":"x"})", R"({"eos_token_id":[1,null]})",
        R"({"eos_token_id":-2})", R"({"dtype":1})", R"({"quantization_config":"x"})", R"({"layer_types":{}})",
        R"({"ffn_dim":0})", R"({"word_embed_proj_dim":"64"})", R"({"activation_function":1})", R"({"enable_bias":1})",
        R"({"do_layer_norm_before":"no"})", R"({"_remove_final_layer_norm":0})", R"({"layer_norm_elementwise_affine":[]})",
        R"({"init_std":-1})", R"({"use_sliding_window":1})", R"({"sliding_window":-1})", R"({"no_rope_layers":1})",
        R"({"no_rope_layers":[2]})", R"({"no_rope_layers":[true]})", R"({"no_rope_layer_interval":0})"}) {
    EXPECT_EQ(kind_of([&] { parse(text); }), "validation") << text;
  }
  EXPECT_EQ(message_of([] { parse(R"({"rope_parameters":{"rope_theta":"x"}})"); }),
            R"(DIR/config.json: rope_parameters.rope_theta is "x"; expected a number above 0)");
  EXPECT_EQ(kind_of([] { parse("[]"); }), "not_a_dict");
  EXPECT_EQ(kind_of([] { parse("{"); }), "json");
  EXPECT_EQ(message_of([] { parse("{}", R"({"eos_token_id":{}})"); }),
            "DIR/generation_config.json: eos_token_id is {}; expected a token id or an array of token ids");
}

TEST(HfConfig, DecoderSizesMustBeThereAndFit) {
  const std::string rest = R"("vocab_size":8,"intermediate_size":8,"num_hidden_layers":1,)";
  EXPECT_EQ(message_of([] { parse(R"({"vocab_size":8})").require_decoder_sizes(); }),
            "DIR/config.json: hidden_size is missing; expected a positive integer");
  const auto message = [&](std::string_view sizes) {
    return message_of([&] { parse("{" + rest + std::string(sizes) + "}").require_decoder_sizes(); });
  };
  EXPECT_EQ(message(R"("hidden_size":8,"num_attention_heads":2)"), "ok");
  EXPECT_EQ(message(R"("hidden_size":9,"num_attention_heads":2,"head_dim":4)"), "ok");
  EXPECT_THAT(message(R"("hidden_size":9,"num_attention_heads":2)"), HasSubstr("expected a multiple of num_attention_heads, 2"));
  EXPECT_THAT(message(R"("hidden_size":8,"num_attention_heads":2,"num_key_value_heads":3)"), HasSubstr("multiple of num_key_value_heads, 3"));
}

TEST(HfConfig, OptHasSizesOfItsOwn) {
  const std::string rest = R"("vocab_size":8,"hidden_size":9,"num_hidden_layers":1,)";
  const auto message = [&](std::string_view sizes) {
    return message_of([&] { parse("{" + rest + std::string(sizes) + "}").require_decoder_sizes(true); });
  };
  EXPECT_EQ(message(R"("ffn_dim":8,"num_attention_heads":3)"), "ok");
  EXPECT_THAT(message(R"("intermediate_size":8,"num_attention_heads":3)"), HasSubstr("ffn_dim is missing"));
  EXPECT_THAT(message(R"("ffn_dim":8,"num_attention_heads":2,"head_dim":4)"),
              HasSubstr("hidden_size is 9; expected a multiple of num_attention_heads, 2"));
}

TEST(HfConfig, AbsentFilesAreIoErrors) {
  const ScratchFolder scratch;
  EXPECT_THROW(HfConfig::load(scratch.path()), IoError);
  write_text(scratch / "config.json", "{}");
  EXPECT_TRUE(HfConfig::load(scratch.path()).architectures.empty());
}

}  // namespace
}  // namespace torchao_cpp
