// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "models/decoder_model.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {

/// KV caches of the sequences that run at once; they stay for the next ones.
class CachePlaces {
 public:
  explicit CachePlaces(std::int64_t count) : caches_(static_cast<std::size_t>(count)) {}

  std::size_t size() const noexcept { return caches_.size(); }
  /// The cache of a place, with room for `length` tokens: what was in it is lost.
  KvCache& take(std::size_t place, std::int64_t length, const DecoderModel& model);

 private:
  std::vector<std::unique_ptr<KvCache>> caches_;
};

/// What one call of LLM::generate_batch asks for.
struct BatchRequest {
  std::span<const std::span<const std::int32_t>> prompts;  ///< Checked: not empty, in bounds.
  const SamplingParams& params;
  const std::function<bool(std::int64_t, std::int32_t)>& on_token;
  const std::atomic<bool>* cancelled = nullptr;
  RunProfile* profile = nullptr;  ///< Where time is added up, or null.
};

/// Generates for many prompts on one model. A prompt joins as soon as a place is free. A step is
/// either the prefill of prompts that joined, as many tokens of them as fit a forward, or one token
/// for every sequence that runs: newcomers catch up first, so that decoding has many rows.
class BatchGeneration {
 public:
  BatchGeneration(DecoderModel& model, CachePlaces& places, const BatchRequest& request);

  /// One result for each prompt, in their order.
  std::vector<GenerationResult> run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Sequence {
    std::int64_t index = 0;  ///< Of the prompt.
    std::size_t place = 0;
    KvCache* cache = nullptr;
    Sampler sampler;
    std::int64_t length = 0;       ///< Tokens in the cache.
    std::int64_t most_ids = 0;     ///< That it may generate.
    std::int32_t last_id = 0;      ///< Generated, not yet in the cache.
    Clock::time_point start{};     ///< Of the prefill, then of decoding.
    std::exception_ptr problem{};  ///< Thrown by the sampler.
    bool is_done = false;
  };

  void step();
  void admit();
  void prefill();
  void decode();
  /// Samples from the last tokens of the sequences [begin, end) of running_, which the last forward
  /// ran.
  void sample(std::size_t begin, std::size_t end);
  void take_best(std::size_t begin, std::size_t end);
  void take_id(Sequence& sequence);
  bool is_stop(std::int32_t id) const;
  void remove_done();
  std::span<const std::int32_t> prompt(const Sequence& sequence) const {
    return request_.prompts[static_cast<std::size_t>(sequence.index)];
  }
  bool is_prefilling() const { return decoding_ < running_.size(); }
  bool is_cancelled() const { return request_.cancelled != nullptr && request_.cancelled->load(); }

  DecoderModel& model_;
  CachePlaces& places_;
  BatchRequest request_;
  std::vector<GenerationResult> results_;
  std::vector<std::size_t> free_places_;
  std::size_t next_prompt_ = 0;
  std::vector<Sequence> running_;  ///< By index; those still in prefill are the last.
  std::size_t decoding_ = 0;       ///< How many of them are past their prefill.
  std::vector<SequenceTokens> tokens_;
  std::vector<float> logits_;
  std::vector<BestLogit> best_;    ///< In place of logits_ where the largest is all that counts.
  PhaseProfile* phase_ = nullptr;  ///< Of the step at hand.
};

}  // namespace torchao_cpp
