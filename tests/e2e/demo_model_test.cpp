// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "e2e/demo_model.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

/// The demo model against what transformers 5.19, torchao 0.18 and torch 2.13 made of it.
namespace torchao_cpp::e2e {
namespace {

ModelOptions in_dtype(DType dtype) {
  ModelOptions options;
  options.dtype = dtype;
  return options;
}

double largest_difference(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.shape(), want.shape());
  double out = 0;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    out = std::max(out, std::fabs(static_cast<double>(got.data<float>()[i]) -
                                  static_cast<double>(want.data<float>()[i])));
  }
  return out;
}

TEST(DemoModel, Float32LogitsAreThoseOfTransformers) {
  LLM llm(demo_model(), in_dtype(DType::kFloat32));
  for_expected_logits([&](const std::string& name, const Tensor& ids, const Tensor& want) {
    EXPECT_LT(largest_difference(llm.logits(ids.span<std::int32_t>()), want), 2e-4) << name;
  });
}

TEST(DemoModel, GreedyIdsAreThoseOfTransformers) {
  LLM llm(demo_model(), in_dtype(DType::kFloat32));
  const Json expected = read_json_file(demo_model() / "expected_greedy_f32.json");
  for (const auto& [name, prompt] : expected.items()) {
    const auto want = prompt.at("greedy_ids").get<std::vector<std::int32_t>>();
    SamplingParams params;
    params.max_new_tokens = static_cast<std::int64_t>(want.size());
    params.ignore_eos = true;
    const GenerationResult result =
        llm.generate(prompt.at("input_ids").get<std::vector<std::int32_t>>(), params);
    EXPECT_EQ(result.output_ids, want) << name;
    EXPECT_EQ(result.finish_reason, "length");
  }
}

TEST(DemoModel, PerplexityOfTwoWindows) {
  std::vector<std::int32_t> ids = heldout_ids();
  ASSERT_EQ(ids.size(), 52084u);
  ids.resize(1100);  // two windows; the rest is dropped
  LLM llm(demo_model(), in_dtype(DType::kFloat32));
  const PerplexityResult result = llm.perplexity(ids);
  EXPECT_EQ(result.windows, 2);
  EXPECT_EQ(result.tokens, 1022);
  // transformers, the same two windows.
  EXPECT_NEAR(result.nll_nats_per_token, 2.935801272, 1e-5);
  EXPECT_DOUBLE_EQ(result.perplexity, std::exp(result.nll_nats_per_token));
}

TEST(DemoModel, PiecewiseDecodeGivesTheLogitsOfTheWholePrompt) {
  const Json expected = read_json_file(demo_model() / "expected_greedy_f32.json");
  const auto ids = expected.at("prompt0").at("greedy_ids").get<std::vector<std::int32_t>>();
  LLM llm(demo_model(), in_dtype(DType::kFloat32));
  const Tensor whole = llm.logits(ids);
  SamplingParams params;
  params.max_new_tokens = 1;
  params.ignore_eos = true;
  for (const std::size_t length : {std::size_t{1}, std::size_t{17}, ids.size()}) {
    const float* row =
        whole.data<float>() + (static_cast<std::int64_t>(length) - 1) * llm.vocab_size();
    const auto best =
        static_cast<std::int32_t>(std::max_element(row, row + llm.vocab_size()) - row);
    EXPECT_EQ(llm.generate(std::span(ids).first(length), params).output_ids, std::vector{best});
  }
}

TEST(DemoModel, GenerationStops) {
  LLM llm(demo_model(), in_dtype(DType::kFloat32));
  const std::vector<std::int32_t> prompt{427, 1711, 1283, 294};
  SamplingParams params;
  params.max_new_tokens = 20;
  params.stop_ids = {273};  // the third greedy id
  GenerationResult result = llm.generate(prompt, params);
  EXPECT_EQ(result.finish_reason, "stop");
  EXPECT_EQ(result.output_ids.size(), 3u);
  EXPECT_EQ(result.decode_tokens, 2);

  int seen = 0;
  result = llm.generate(prompt, params, [&](std::int32_t) { return ++seen < 2; });
  EXPECT_EQ(result.finish_reason, "cancelled");
  EXPECT_EQ(result.output_ids.size(), 2u);
}

TEST(DemoModel, SamplingRepeatsWithItsSeed) {
  LLM llm(demo_model());
  const std::vector<std::int32_t> prompt{427, 1711, 1283, 294};
  SamplingParams params;
  params.temperature = 0.9;
  params.top_k = 40;
  params.top_p = 0.95;
  params.max_new_tokens = 24;
  params.ignore_eos = true;
  params.seed = 11;
  const auto first = llm.generate(prompt, params).output_ids;
  EXPECT_EQ(llm.generate(prompt, params).output_ids, first);
  params.seed = 12;
  EXPECT_NE(llm.generate(prompt, params).output_ids, first);
}

TEST(DemoModel, LogitsDoNotDependOnTheNumberOfThreads) {
  const std::vector<std::int32_t> ids{1465, 1081, 262, 912, 11, 396};
  LLM llm(demo_model());
  const int before = threads();
  set_threads(1);
  const Tensor one = llm.logits(ids);
  set_threads(2);
  EXPECT_TRUE(equal_bytes(one, llm.logits(ids)));
  set_threads(before);
}

TEST(DemoModelErrors, NameWhatIsWrongWithThePrompt) {
  ModelOptions options;
  options.max_model_len = 16;
  LLM llm(demo_model(), options);
  const std::vector<std::int32_t> long_prompt(17, 5);
  EXPECT_THAT(message_of([&] { llm.logits({}); }), testing::HasSubstr("prompt is empty"));
  EXPECT_THAT(message_of([&] { llm.logits(long_prompt); }),
              testing::HasSubstr("17 tokens; this model was loaded for at most 16"));
  EXPECT_THAT(message_of([&] {
                llm.logits(std::vector<std::int32_t>{5, 8192});
              }),
              testing::HasSubstr(
                  "token id 8192 at position 1 is outside the vocabulary; expected 0 to 8191"));
  EXPECT_THAT(message_of([&] { llm.generate(std::vector<std::int32_t>{-1}, {}); }),
              testing::HasSubstr("token id -1"));
  EXPECT_THAT(message_of([&] { llm.perplexity(long_prompt, 32); }),
              testing::HasSubstr("window is 32 tokens"));
  EXPECT_THAT(message_of([&] { llm.perplexity(std::vector<std::int32_t>(7, 5), 8); }),
              testing::HasSubstr("fewer than one window"));
  // The last token is not fed back, so a full prompt still has one.
  EXPECT_EQ(llm.generate(std::span(long_prompt).first(16), {}).output_ids.size(), 1u);
}

TEST(DemoModelErrors, NameWhatIsWrongWithTheOptions) {
  ModelOptions options;
  options.max_model_len = 4096;
  EXPECT_THAT(message_of([&] { LLM llm(demo_model(), options); }),
              testing::HasSubstr("max_model_len is 4096; expected 1 to 1024"));
  EXPECT_THAT(message_of([&] { LLM llm(demo_model(), in_dtype(DType::kInt8)); }),
              testing::HasSubstr("compute dtype int8"));
  EXPECT_THAT(message_of([&] { LLM llm("/no/such/folder"); }),
              testing::HasSubstr("/no/such/folder"));
}

}  // namespace
}  // namespace torchao_cpp::e2e
