// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/llm.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "base/parallel.h"
#include "engine/batch_generation.h"
#include "models/decoder_model.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Negative log of the probability that softmax(logits) gives `id`, in nats.
double negative_log_likelihood(std::span<const float> logits, std::int32_t id) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float v : logits) sum += std::exp(static_cast<double>(v) - largest);
  return std::log(sum) + largest - static_cast<double>(logits[static_cast<std::size_t>(id)]);
}

}  // namespace

struct LLM::Impl {
  Impl(const std::filesystem::path& directory, const ModelOptions& options)
      : model(options.random_weights ? ModelFolder::with_random_weights(directory)
                                     : ModelFolder::open(directory),
              options, notices),
        places(model.max_batch()) {}

  std::int64_t vocab_size() const { return model.config().vocab_size; }

  void check_ids(std::span<const std::int32_t> ids) const {
    if (ids.empty())
      throw Error("the prompt is empty; expected at least one token id", "empty_prompt");
    const auto count = static_cast<std::int64_t>(ids.size());
    if (count > model.max_model_len()) {
      throw Error(
          fmt::format(
              "the prompt has {} tokens; this model was loaded for at most {} (max_model_len)",
              count, model.max_model_len()),
          "prompt_too_long");
    }
    check_vocabulary(ids);
  }

  void check_vocabulary(std::span<const std::int32_t> ids) const {
    const auto bad = std::find_if(ids.begin(), ids.end(),
                                  [&](std::int32_t id) { return id < 0 || id >= vocab_size(); });
    if (bad == ids.end()) return;
    throw Error(
        fmt::format("token id {} at position {} is outside the vocabulary; expected 0 to {}", *bad,
                    bad - ids.begin(), vocab_size() - 1),
        "id_out_of_range");
  }

  // Runs `ids` from the start of a cache, chunk by chunk; `on_chunk(first position, rows)` may
  // ask for logits of its rows.
  template <typename F>
  void prefill(std::span<const std::int32_t> ids, const F& on_chunk) {
    const auto total = static_cast<std::int64_t>(ids.size());
    KvCache& cache = places.take(0, total, model);
    for (std::int64_t first = 0; first < total; first += model.max_chunk()) {
      const std::int64_t rows = std::min(model.max_chunk(), total - first);
      const SequenceTokens tokens{
          ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)), first,
          &cache};
      model.forward({&tokens, 1});
      on_chunk(first, rows);
    }
  }

  // Sum over tokens 2..n of one window.
  double window_nll(std::span<const std::int32_t> ids, std::vector<float>& logits) {
    double sum = 0;
    prefill(ids, [&](std::int64_t first, std::int64_t rows) {
      model.logits(0, rows, logits.data());
      for (std::int64_t r = 0; r < rows && first + r + 1 < static_cast<std::int64_t>(ids.size());
           ++r) {
        const std::span<const float> row(logits.data() + r * vocab_size(),
                                         static_cast<std::size_t>(vocab_size()));
        sum += negative_log_likelihood(row, ids[static_cast<std::size_t>(first + r + 1)]);
      }
    });
    return sum;
  }

  std::vector<std::string> notices;
  DecoderModel model;
  CachePlaces places;
  std::optional<RunProfile> noted;

  RunProfile* profile() { return noted ? &*noted : nullptr; }
};

LLM::LLM(const std::filesystem::path& directory, const ModelOptions& options)
    : impl_(std::make_unique<Impl>(directory, options)) {}
LLM::~LLM() = default;
LLM::LLM(LLM&&) noexcept = default;
LLM& LLM::operator=(LLM&&) noexcept = default;

std::string_view LLM::architecture() const noexcept {
  return impl_->model.config().architecture->name;
}
DType LLM::dtype() const noexcept { return impl_->model.dtype(); }
std::int64_t LLM::vocab_size() const noexcept { return impl_->vocab_size(); }
std::int64_t LLM::max_model_len() const noexcept { return impl_->model.max_model_len(); }
std::span<const std::int32_t> LLM::eos_token_ids() const noexcept {
  return impl_->model.config().eos_token_ids;
}
std::int64_t LLM::weight_bytes() const noexcept { return impl_->model.weight_bytes(); }
std::int64_t LLM::linear_weight_bytes() const noexcept {
  return impl_->model.linear_weight_bytes();
}
const std::vector<LinearReport>& LLM::linear_reports() const noexcept {
  return impl_->model.linear_reports();
}
std::int64_t LLM::kv_cache_bytes_per_token() const noexcept {
  return impl_->model.kv_cache_bytes_per_token();
}
std::span<const std::string> LLM::notices() const noexcept { return impl_->notices; }

Tensor LLM::logits(std::span<const std::int32_t> input_ids) {
  impl_->check_ids(input_ids);
  const std::int64_t vocab = vocab_size();
  Tensor out = Tensor::empty(DType::kFloat32, {static_cast<std::int64_t>(input_ids.size()), vocab});
  auto* data = out.mutable_data<float>();
  impl_->prefill(input_ids, [&](std::int64_t first, std::int64_t rows) {
    impl_->model.logits(0, rows, data + first * vocab);
  });
  return out;
}

GenerationResult LLM::generate(std::span<const std::int32_t> input_ids,
                               const SamplingParams& params,
                               const std::function<bool(std::int32_t)>& on_token) {
  impl_->check_ids(input_ids);
  std::function<bool(std::int64_t, std::int32_t)> on_batch_token;
  if (on_token) on_batch_token = [&](std::int64_t, std::int32_t id) { return on_token(id); };
  return BatchGeneration(impl_->model, impl_->places,
                         {{&input_ids, 1}, params, on_batch_token, nullptr, impl_->profile()})
      .run()
      .front();
}

std::vector<GenerationResult> LLM::generate_batch(
    std::span<const std::vector<std::int32_t>> prompts, const SamplingParams& params,
    const std::function<bool(std::int64_t, std::int32_t)>& on_token,
    const std::atomic<bool>* cancelled) {
  const std::vector<std::span<const std::int32_t>> ids(prompts.begin(), prompts.end());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    try {
      impl_->check_ids(ids[i]);
    } catch (const Error& error) {
      throw Error(fmt::format("prompt {} of {}: {}", i + 1, ids.size(), error.what()),
                  error.kind());
    }
  }
  return BatchGeneration(impl_->model, impl_->places,
                         {ids, params, on_token, cancelled, impl_->profile()})
      .run();
}

void LLM::start_profile() { impl_->noted.emplace(); }
RunProfile LLM::stop_profile() {
  const RunProfile profile = impl_->noted.value_or(RunProfile{});
  impl_->noted.reset();
  return profile;
}

PerplexityResult LLM::perplexity(
    std::span<const std::int32_t> ids, std::int64_t window,
    const std::function<bool(std::int64_t done, std::int64_t total)>& progress) {
  if (window < 2 || window > max_model_len()) {
    throw Error(fmt::format("the window is {} tokens; expected 2 to {} (max_model_len)", window,
                            max_model_len()),
                "window");
  }
  const std::int64_t windows = static_cast<std::int64_t>(ids.size()) / window;
  if (windows == 0) {
    throw Error(fmt::format("the text has {} tokens, fewer than one window of {}; use a longer "
                            "text or a smaller window",
                            ids.size(), window),
                "text_too_short");
  }
  impl_->check_vocabulary(ids);
  std::vector<float> logits(
      static_cast<std::size_t>(std::min(window, impl_->model.max_chunk()) * vocab_size()));
  const Clock::time_point start = Clock::now();
  PerplexityResult result;
  double sum = 0;
  for (std::int64_t w = 0; w < windows; ++w) {
    sum += impl_->window_nll(
        ids.subspan(static_cast<std::size_t>(w * window), static_cast<std::size_t>(window)),
        logits);
    ++result.windows;
    if (progress && !progress(w + 1, windows)) break;
  }
  result.tokens = result.windows * (window - 1);
  result.nll_nats_per_token = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll_nats_per_token);
  result.seconds = seconds_since(start);
  return result;
}

void set_threads(int n) { set_num_threads(n); }
int threads() noexcept { return num_threads(); }
std::string_view version() noexcept { return TORCHAO_CPP_VERSION; }

}  // namespace torchao_cpp
