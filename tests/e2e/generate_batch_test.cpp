// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "e2e/demo_model.h"
#include "torchao_cpp/error.h"

/// Several sequences at once against the same sequences one by one.
namespace torchao_cpp::e2e {
namespace {

using Ids = std::vector<std::int32_t>;

/// Pieces of the held-out text, of unequal lengths: some shorter, some longer than a chunk of the
/// prefill.
std::vector<Ids> prompts() {
  const Ids text = heldout_ids();
  std::vector<Ids> out;
  std::ptrdiff_t first = 0;
  for (const std::ptrdiff_t length : {5, 1, 40, 7, 530, 17, 3}) {
    out.emplace_back(text.begin() + first, text.begin() + first + length);
    first += length;
  }
  return out;
}

ModelOptions options_of(const std::string& quantization, int max_batch) {
  ModelOptions options;
  options.dtype = DType::kFloat32;
  options.max_batch = max_batch;
  options.max_model_len = 600;
  if (!quantization.empty()) options.quantization = TorchAOConfig::from_user(quantization);
  return options;
}

SamplingParams twelve_ids() {
  SamplingParams params;
  params.max_new_tokens = 12;
  params.ignore_eos = true;
  return params;
}

class GenerateBatch : public testing::TestWithParam<std::string> {};

TEST_P(GenerateBatch, GivesEachPromptWhatItGetsAlone) {
  const std::vector<Ids> all = prompts();
  LLM llm(demo_model(), options_of(GetParam(), 1));
  std::vector<Ids> want;
  for (const Ids& prompt : all) want.push_back(llm.generate(prompt, twelve_ids()).output_ids);
  // One place: after each other; three: a prompt joins when another is done; eight: all at once.
  for (const int places : {1, 3, 8}) {
    LLM batched(demo_model(), options_of(GetParam(), places));
    const auto results = batched.generate_batch(all, twelve_ids());
    ASSERT_EQ(results.size(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(results[i].output_ids, want[i]) << "prompt " << i << ", " << places << " places";
      EXPECT_EQ(results[i].finish_reason, "length");
      EXPECT_EQ(results[i].prompt_tokens, static_cast<std::int64_t>(all[i].size()));
      EXPECT_EQ(results[i].decode_tokens, 11);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Configs, GenerateBatch,
                         testing::Values("", "int8wo", "int4wo-32", "8da4w", "int8dq", "fp8wo"),
                         [](const auto& info) {
                           std::string name = info.param.empty() ? "plain" : info.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST(GenerateBatchStops, EachSequenceByItself) {
  const std::vector<Ids> all = prompts();
  LLM llm(demo_model(), options_of("", 4));
  const auto free_run = llm.generate_batch(all, twelve_ids());
  SamplingParams params = twelve_ids();
  params.stop_ids = {free_run[2].output_ids[4]};
  std::map<std::int64_t, Ids> seen;
  const auto results = llm.generate_batch(all, params, [&](std::int64_t index, std::int32_t id) {
    seen[index].push_back(id);
    return index != 0 || seen[index].size() < 3;
  });
  for (std::size_t i = 0; i < all.size(); ++i) {
    // As far as the free run goes before it meets the stop id, or the callback ends it.
    Ids want = free_run[i].output_ids;
    const auto stop = std::find(want.begin(), want.end(), params.stop_ids[0]);
    std::string reason = stop == want.end() ? "length" : "stop";
    if (stop != want.end()) want.erase(stop + 1, want.end());
    if (i == 0 && want.size() > 3) {
      want.resize(3);
      reason = "cancelled";
    }
    EXPECT_EQ(results[i].output_ids, want) << i;
    EXPECT_EQ(results[i].finish_reason, reason) << i;
    EXPECT_EQ(seen[static_cast<std::int64_t>(i)], want) << i;
  }
  EXPECT_EQ(results[2].finish_reason, "stop");
}

TEST(GenerateBatchStops, AtTheEndOfTheContext) {
  ModelOptions options = options_of("", 2);
  options.max_model_len = 20;
  LLM llm(demo_model(), options);
  const Ids text = heldout_ids();
  const std::vector<Ids> all{Ids(text.begin(), text.begin() + 20),
                             Ids(text.begin(), text.begin() + 14)};
  SamplingParams params = twelve_ids();
  const auto results = llm.generate_batch(all, params);
  EXPECT_EQ(results[0].output_ids.size(), 1u);
  EXPECT_EQ(results[1].output_ids.size(), 7u);
  EXPECT_EQ(results[1].finish_reason, "length");
}

TEST(GenerateBatchStops, WhenItIsCancelled) {
  const std::vector<Ids> all = prompts();
  LLM llm(demo_model(), options_of("", 2));
  std::atomic<bool> cancelled = false;
  int seen = 0;
  const auto results = llm.generate_batch(
      all, twelve_ids(),
      [&](std::int64_t, std::int32_t) {
        if (++seen == 5) cancelled = true;
        return true;
      },
      &cancelled);
  std::size_t ids = 0;
  for (const GenerationResult& result : results) {
    EXPECT_EQ(result.finish_reason, "cancelled");
    ids += result.output_ids.size();
  }
  // The step at hand is finished: both sequences get their id.
  EXPECT_EQ(ids, static_cast<std::size_t>(seen));
  EXPECT_LE(ids, 6u);
  EXPECT_TRUE(results.back().output_ids.empty());
}

TEST(GenerateBatchSampling, PromptISamplesWithSeedPlusI) {
  const std::vector<Ids> all(4, Ids{427, 1711, 1283, 294});
  LLM llm(demo_model(), options_of("", 3));
  SamplingParams params = twelve_ids();
  params.temperature = 1.1;
  params.top_k = 50;
  params.seed = 7;
  const auto results = llm.generate_batch(all, params);
  for (const GenerationResult& result : results) {
    EXPECT_EQ(result.output_ids, llm.generate(all[0], params).output_ids) << params.seed;
    ++params.seed;
  }
  EXPECT_NE(results[0].output_ids, results[1].output_ids);
}

TEST(GenerateBatchErrors, NameThePromptBeforeAnythingRuns) {
  LLM llm(demo_model(), options_of("", 2));
  int seen = 0;
  const auto count = [&](std::int64_t, std::int32_t) { return ++seen > 0; };
  const std::vector<Ids> empty{{1}, {}};
  const std::vector<Ids> outside{{1}, {2}, {1 << 20}};
  EXPECT_THAT(
      [&] { llm.generate_batch(empty, twelve_ids(), count); },
      testing::ThrowsMessage<Error>(testing::HasSubstr("prompt 2 of 2: the prompt is empty")));
  EXPECT_THAT([&] { llm.generate_batch(outside, twelve_ids(), count); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("prompt 3 of 3: token id")));
  SamplingParams bad = twelve_ids();
  bad.top_p = 2;
  EXPECT_THROW(llm.generate_batch(std::vector<Ids>{{1}}, bad, count), Error);
  EXPECT_EQ(seen, 0);
  EXPECT_TRUE(llm.generate_batch({}, twelve_ids(), count).empty());
  EXPECT_THROW(LLM(demo_model(), options_of("", 0)), ConfigError);
}

}  // namespace
}  // namespace torchao_cpp::e2e
