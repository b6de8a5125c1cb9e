// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <fstream>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// make_random_model: whole folders that load and run.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

Json small_config(const std::string& architecture, bool is_tied, bool has_bias) {
  return Json{{"architectures", {architecture}},
              {"model_type", architecture == "Qwen3ForCausalLM" ? "qwen3" : "llama"},
              {"vocab_size", 211},
              {"hidden_size", 64},
              {"intermediate_size", 96},
              {"num_hidden_layers", 2},
              {"num_attention_heads", 4},
              {"num_key_value_heads", 2},
              {"head_dim", 32},
              {"max_position_embeddings", 64},
              {"attention_bias", has_bias},
              {"mlp_bias", has_bias},
              {"tie_word_embeddings", is_tied},
              {"initializer_range", 0.25},
              {"torch_dtype", "float32"}};
}

fs::path write_config(const ScratchFolder& scratch, const Json& config,
                      const std::string& name = "some.json") {
  std::ofstream(scratch / name) << config.dump();
  return scratch / name;
}

std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

double deviation_of(const Tensor& tensor) {
  const Tensor values = tensor.to(DType::kFloat32);
  double squares = 0;
  for (const float value : values.span<float>()) squares += double{value} * value;
  return std::sqrt(squares / static_cast<double>(values.numel()));
}

bool all_equal(const Tensor& tensor, float expected) {
  const Tensor values = tensor.to(DType::kFloat32);
  const auto span = values.span<float>();
  return std::all_of(span.begin(), span.end(), [&](float v) { return v == expected; });
}

class MakeRandomModel : public testing::TestWithParam<std::tuple<std::string, bool, bool>> {};

TEST_P(MakeRandomModel, LoadsAndGenerates) {
  const auto& [architecture, is_tied, has_bias] = GetParam();
  const ScratchFolder scratch;
  const fs::path config = write_config(scratch, small_config(architecture, is_tied, has_bias));
  const RandomModelReport report = make_random_model(config, scratch / "out", {.seed = 3});
  EXPECT_EQ(report.dtype, DType::kFloat32);

  const Checkpoint checkpoint(scratch / "out");
  EXPECT_EQ(report.tensors, static_cast<std::int64_t>(checkpoint.names().size()));
  EXPECT_EQ(report.nbytes, checkpoint.nbytes());
  EXPECT_EQ(report.num_parameters, checkpoint.nbytes() / 4);
  EXPECT_EQ(checkpoint.contains("lm_head.weight"), !is_tied);
  bool has_any_bias = false;
  for (const std::string& name : checkpoint.names()) {
    const Tensor tensor = checkpoint.entry(name).plain;
    if (name.ends_with("norm.weight")) {
      EXPECT_TRUE(all_equal(tensor, 1)) << name;
    } else if (name.ends_with(".bias")) {
      EXPECT_TRUE(all_equal(tensor, 0)) << name;
      has_any_bias = true;
    } else {
      EXPECT_NEAR(deviation_of(tensor), 0.25, 0.02) << name;
    }
  }
  EXPECT_EQ(has_any_bias, has_bias);

  LLM model(scratch / "out");
  EXPECT_TRUE(model.notices().empty()) << model.notices().front();
  SamplingParams sampling;
  sampling.max_new_tokens = 5;
  EXPECT_EQ(model.generate(std::vector<std::int32_t>{1, 2, 3}, sampling).output_ids.size(), 5U);
  // Random weights, and not a model that says the same whatever it is asked.
  const Tensor logits = model.logits(std::vector<std::int32_t>{1, 2, 3});
  EXPECT_GT(deviation_of(logits.narrow(0, 0, 1)), 0);
  EXPECT_FALSE(equal_bytes(logits.narrow(0, 0, 1), logits.narrow(0, 2, 1)));
}

INSTANTIATE_TEST_SUITE_P(Architectures, MakeRandomModel,
                         testing::Combine(testing::Values("LlamaForCausalLM", "Qwen3ForCausalLM"),
                                          testing::Bool(), testing::Bool()));

TEST(MakeRandomModelFiles, SameSeedSameBytesWhateverTheThreads) {
  const ScratchFolder scratch;
  const fs::path config = write_config(scratch, small_config("LlamaForCausalLM", false, true));
  const int before = threads();
  set_threads(1);
  make_random_model(config, scratch / "one", {.seed = 1, .dtype = DType::kBFloat16});
  set_threads(5);
  make_random_model(config, scratch / "five", {.seed = 1, .dtype = DType::kBFloat16});
  make_random_model(config, scratch / "other", {.seed = 2, .dtype = DType::kBFloat16});
  set_threads(before);
  const std::string one = read_all(scratch / "one" / "model.safetensors");
  EXPECT_FALSE(one.empty());
  EXPECT_EQ(read_all(scratch / "five" / "model.safetensors"), one);
  EXPECT_NE(read_all(scratch / "other" / "model.safetensors"), one);
  const Json written = Json::parse(read_all(scratch / "one" / "config.json"));
  EXPECT_EQ(written.at("torch_dtype"), "bfloat16");
  EXPECT_FALSE(written.contains("dtype"));
  EXPECT_EQ(written.at("initializer_range"), 0.25);
  EXPECT_EQ(LLM(scratch / "one").dtype(), DType::kBFloat16);
}

TEST(MakeRandomModelFiles, ShardsHoldTheSameTensors) {
  const ScratchFolder scratch;
  const fs::path config = write_config(scratch, small_config("Qwen3ForCausalLM", true, false));
  make_random_model(config, scratch / "whole");
  make_random_model(config, scratch / "shards", {.max_shard_bytes = 60'000});
  EXPECT_THAT(names_in(scratch / "shards"), Contains("model.safetensors.index.json"));
  EXPECT_GT(names_in(scratch / "shards").size(), 4U);
  const Checkpoint whole(scratch / "whole");
  const Checkpoint shards(scratch / "shards");
  EXPECT_TRUE(shards.warnings().empty());
  ASSERT_EQ(shards.names().size(), whole.names().size());
  for (const std::string& name : whole.names())
    EXPECT_TRUE(equal_bytes(shards.entry(name).plain, whole.entry(name).plain)) << name;
}

TEST(MakeRandomModelFiles, TakesTheTokenizerAndLeavesQuantizationOut) {
  const ScratchFolder scratch;
  Json json = small_config("LlamaForCausalLM", true, false);
  json.erase("torch_dtype");
  json["quantization_config"] = {{"quant_method", "torchao"}};
  const fs::path config = write_config(scratch, json);
  for (const char* name : {"tokenizer.json", "generation_config.json", "LICENSE", "notes.txt"})
    std::ofstream(scratch / name) << "{}";
  const RandomModelReport report = make_random_model(config, scratch / "out");
  EXPECT_EQ(report.dtype, DType::kBFloat16);
  EXPECT_THAT(report.notices, ElementsAre(HasSubstr("quantization_config, which was left out")));
  EXPECT_THAT(names_in(scratch / "out"),
              UnorderedElementsAre("config.json", "model.safetensors", "tokenizer.json",
                                   "generation_config.json"));
  EXPECT_FALSE(
      Json::parse(read_all(scratch / "out" / "config.json")).contains("quantization_config"));
}

TEST(MakeRandomModelFiles, ErrorsLeaveNothingBehind) {
  const ScratchFolder scratch;
  const fs::path good = write_config(scratch, small_config("LlamaForCausalLM", true, false));
  const auto refused = [&](const char* key, const Json& value) {
    Json json = small_config("LlamaForCausalLM", true, false);
    json[key] = value;
    const fs::path config = write_config(scratch, json, "bad.json");
    return message_of([&] { make_random_model(config, scratch / "out"); });
  };
  EXPECT_THAT(refused("architectures", {"FooForCausalLM"}), HasSubstr("'FooForCausalLM'"));
  EXPECT_THAT(refused("hidden_size", "wide"), HasSubstr("bad.json: hidden_size is \"wide\""));
  EXPECT_THAT(refused("initializer_range", -1), HasSubstr("initializer_range is -1"));
  EXPECT_THAT(message_of([&] { make_random_model(scratch / "none", scratch / "out"); }),
              HasSubstr("none: cannot be opened"));
  EXPECT_THAT(
      message_of([&] { make_random_model(good, scratch / "out", {.dtype = DType::kInt8}); }),
      HasSubstr("int8"));
  std::atomic<bool> cancelled{true};
  EXPECT_THAT(
      message_of([&] { make_random_model(good, scratch / "out", {.cancelled = &cancelled}); }),
      HasSubstr("cancelled"));
  // In the middle of writing.
  EXPECT_EQ(message_of([&] {
              make_random_model(good, scratch / "out", {.progress = [](auto, auto, auto) {
                                  throw Error("the bar broke", "test");
                                }});
            }),
            "the bar broke");
  EXPECT_THAT(names_in(scratch.path()), UnorderedElementsAre("some.json", "bad.json"));
}

}  // namespace
}  // namespace torchao_cpp::e2e
