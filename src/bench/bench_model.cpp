// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "bench/machine.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

void check_positive(const char* name, std::int64_t value) {
  if (value < 1)
    throw Error(fmt::format("{} is {}; expected at least 1", name, value), "validation");
}

void add(PhaseProfile& sum, const PhaseProfile& phase) {
  sum.seconds += phase.seconds;
  sum.linear_seconds += phase.linear_seconds;
  sum.attention_seconds += phase.attention_seconds;
  sum.sampling_seconds += phase.sampling_seconds;
}

BenchShares shares_of(const PhaseProfile& phase) {
  if (!(phase.seconds > 0)) return {};
  return {phase.linear_seconds / phase.seconds, phase.attention_seconds / phase.seconds,
          phase.other_seconds() / phase.seconds, phase.sampling_seconds / phase.seconds};
}

double rate(const PhaseProfile& phase) {
  return phase.seconds > 0 ? static_cast<double>(phase.tokens) / phase.seconds : 0;
}

BenchModelRow measure(LLM& llm, std::int64_t batch, const BenchModelOptions& options,
                      const BenchMachine& machine) {
  std::minstd_rand generator(1);
  std::vector<std::vector<std::int32_t>> prompts(static_cast<std::size_t>(batch));
  for (auto& prompt : prompts) {
    for (std::int64_t i = 0; i < options.prompt_tokens; ++i)
      prompt.push_back(
          static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(llm.vocab_size())));
  }
  SamplingParams params;
  params.max_new_tokens = options.decode_tokens + 1;  // The first comes from the prefill.
  params.ignore_eos = true;
  std::vector<double> prefill_rates;
  std::vector<double> decode_rates;
  PhaseProfile prefill;
  PhaseProfile decode;
  for (std::int64_t repeat = 0; repeat < options.repeats; ++repeat) {
    std::int64_t done = 0;
    const std::int64_t total = batch * params.max_new_tokens;
    const std::string what =
        fmt::format("batch {}, repeat {} of {}", batch, repeat + 1, options.repeats);
    llm.start_profile();
    llm.generate_batch(prompts, params, [&](std::int64_t, std::int32_t) {
      if (options.progress) options.progress(what, ++done, total);
      return true;
    });
    const RunProfile profile = llm.stop_profile();
    prefill_rates.push_back(rate(profile.prefill));
    decode_rates.push_back(rate(profile.decode));
    add(prefill, profile.prefill);
    add(decode, profile.decode);
  }
  BenchModelRow row{.batch = batch,
                    .prefill_tokens_per_second = median(std::move(prefill_rates)),
                    .decode_tokens_per_second = median(std::move(decode_rates)),
                    .prefill = shares_of(prefill),
                    .decode = shares_of(decode)};
  // A token sees those before it and itself.
  const std::int64_t mean_context = options.prompt_tokens + (options.decode_tokens + 1) / 2;
  row.decode_bytes =
      llm.linear_weight_bytes() + batch * mean_context * llm.kv_cache_bytes_per_token();
  row.decode_limit =
      static_cast<double>(batch) * machine.read_bandwidth / static_cast<double>(row.decode_bytes);
  row.decode_limit_share = row.decode_tokens_per_second / row.decode_limit;
  return row;
}

}  // namespace

BenchModelReport bench_model(const std::filesystem::path& directory,
                             const BenchModelOptions& options, const BenchMachine& machine) {
  check_positive("prompt_tokens", options.prompt_tokens);
  check_positive("decode_tokens", options.decode_tokens);
  check_positive("repeats", options.repeats);
  check_positive("the number of batch sizes", static_cast<std::int64_t>(options.batches.size()));
  for (const std::int64_t batch : options.batches) check_positive("a batch size", batch);
  ModelOptions model = options.model;
  model.max_batch =
      static_cast<int>(*std::max_element(options.batches.begin(), options.batches.end()));
  const std::int64_t length = options.prompt_tokens + options.decode_tokens;
  std::error_code ignored;
  model.random_weights = std::filesystem::is_regular_file(directory, ignored);
  if (model.max_model_len == 0) model.max_model_len = length;
  if (model.max_model_len < length) {
    throw Error(fmt::format("max_model_len is {}; expected at least {}, prompt and decode tokens",
                            model.max_model_len, length),
                "validation");
  }
  const auto start = std::chrono::steady_clock::now();
  LLM llm(directory, model);
  BenchModelReport report;
  report.has_shares = options.model.device.type == DeviceType::kCPU;
  report.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.weight_bytes = llm.weight_bytes();
  report.linear_weight_bytes = llm.linear_weight_bytes();
  report.kv_bytes_per_token = llm.kv_cache_bytes_per_token();
  report.notices.assign(llm.notices().begin(), llm.notices().end());
  for (const std::int64_t batch : options.batches)
    report.rows.push_back(measure(llm, batch, options, machine));
  return report;
}

}  // namespace torchao_cpp
