// SPDX-License-Identifier: Apache-2.0
#include "engine/batch_generation.h"

#include <algorithm>
#include <utility>

#include "base/parallel.h"

namespace torchao_cpp {

KvCache& CachePlaces::take(std::size_t place, std::int64_t length, const DecoderModel& model) {
  std::unique_ptr<KvCache>& cache = caches_[place];
  if (!cache || cache->max_length() < length) {
    cache.reset();  // Before the new one: the two need not fit together.
    cache = std::make_unique<KvCache>(model.make_cache(length));
  }
  return *cache;
}

BatchGeneration::BatchGeneration(DecoderModel& model, CachePlaces& places,
                                 const BatchRequest& request)
    : model_(model), places_(places), request_(request), results_(request.prompts.size()) {
  for (std::size_t place = places.size(); place > 0; --place) free_places_.push_back(place - 1);
  for (GenerationResult& result : results_) result.finish_reason = "cancelled";
  const std::size_t most = std::min(places.size(), request.prompts.size());
  if (request.params.temperature == 0 && model.finds_best_cheaply()) {
    best_.resize(most);
  } else {
    logits_.resize(most * static_cast<std::size_t>(model.config().vocab_size));
  }
}

std::vector<GenerationResult> BatchGeneration::run() {
  while (!is_cancelled()) {
    admit();
    if (running_.empty()) break;
    step();
    remove_done();
  }
  for (Sequence& sequence : running_) {
    sequence.is_done = true;
    results_[static_cast<std::size_t>(sequence.index)].finish_reason = "cancelled";
  }
  remove_done();
  return std::move(results_);
}

void BatchGeneration::step() {
  const Clock::time_point start = Clock::now();
  const bool is_prefill = is_prefilling();
  if (request_.profile != nullptr)
    phase_ = is_prefill ? &request_.profile->prefill : &request_.profile->decode;
  model_.set_profile(phase_);
  is_prefill ? prefill() : decode();
  model_.set_profile(nullptr);
  if (phase_ == nullptr) return;
  ++phase_->steps;
  for (const SequenceTokens& tokens : tokens_)
    phase_->tokens += static_cast<std::int64_t>(tokens.ids.size());
  phase_->seconds += std::chrono::duration<double>(Clock::now() - start).count();
}

void BatchGeneration::admit() {
  while (!free_places_.empty() && next_prompt_ < request_.prompts.size()) {
    const std::size_t index = next_prompt_++;
    const auto prompt_tokens = static_cast<std::int64_t>(request_.prompts[index].size());
    SamplingParams params = request_.params;
    params.seed += index;
    Sequence sequence{.index = static_cast<std::int64_t>(index),
                      .sampler = Sampler(params, model_.config().vocab_size)};
    // The last token needs no place in the cache: it is never fed back.
    const std::int64_t room = model_.max_model_len() - prompt_tokens + 1;
    sequence.most_ids = std::min(params.max_new_tokens, room);
    sequence.place = free_places_.back();
    sequence.cache = &places_.take(sequence.place, prompt_tokens + sequence.most_ids - 1, model_);
    sequence.start = Clock::now();
    results_[index].prompt_tokens = prompt_tokens;
    results_[index].output_ids.reserve(static_cast<std::size_t>(sequence.most_ids));
    running_.push_back(std::move(sequence));
    free_places_.pop_back();
  }
}

void BatchGeneration::prefill() {
  tokens_.clear();
  std::int64_t room = model_.max_chunk();
  std::size_t end = decoding_;
  std::size_t finished = decoding_;
  for (; end < running_.size() && room > 0; ++end) {
    Sequence& sequence = running_[end];
    const auto left = prompt(sequence).subspan(static_cast<std::size_t>(sequence.length));
    const auto ids = left.first(std::min(left.size(), static_cast<std::size_t>(room)));
    tokens_.push_back({ids, sequence.length, sequence.cache});
    sequence.length += static_cast<std::int64_t>(ids.size());
    room -= static_cast<std::int64_t>(ids.size());
    if (ids.size() == left.size()) ++finished;
  }
  model_.forward(tokens_);
  // Only the last one may be cut: what it has no logits for yet is the end of the rows.
  if (finished > decoding_) sample(decoding_, finished);
  decoding_ = finished;
}

void BatchGeneration::decode() {
  tokens_.clear();
  for (Sequence& sequence : running_) {
    tokens_.push_back({{&sequence.last_id, 1}, sequence.length, sequence.cache});
    ++sequence.length;
  }
  model_.forward(tokens_);
  sample(0, running_.size());
}

void BatchGeneration::take_best(std::size_t begin, std::size_t end) {
  const std::size_t count = end - begin;
  model_.last_best(static_cast<std::int64_t>(count), best_.data());
  for (std::size_t i = 0; i < count; ++i)
    running_[begin + i].last_id = Sampler::take_best(best_[i]);
  for (std::size_t i = begin; i < end; ++i) take_id(running_[i]);
}

void BatchGeneration::sample(std::size_t begin, std::size_t end) {
  if (!best_.empty()) return take_best(begin, end);
  const auto count = static_cast<std::int64_t>(end - begin);
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  model_.last_logits(count, logits_.data());
  const Clock::time_point start = Clock::now();
  parallel_for(count, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      Sequence& sequence = running_[begin + static_cast<std::size_t>(i)];
      try {
        sequence.last_id =
            sequence.sampler.next({logits_.data() + static_cast<std::size_t>(i) * vocab, vocab});
      } catch (...) {
        sequence.problem = std::current_exception();
      }
    }
  });
  if (phase_ != nullptr)
    phase_->sampling_seconds += std::chrono::duration<double>(Clock::now() - start).count();
  for (std::size_t i = begin; i < end; ++i) take_id(running_[i]);
}

void BatchGeneration::take_id(Sequence& sequence) {
  if (sequence.problem) std::rethrow_exception(sequence.problem);
  GenerationResult& result = results_[static_cast<std::size_t>(sequence.index)];
  const Clock::time_point now = Clock::now();
  if (result.output_ids.empty()) {
    result.prefill_seconds = std::chrono::duration<double>(now - sequence.start).count();
    sequence.start = now;
  }
  const std::int32_t id = sequence.last_id;
  result.output_ids.push_back(id);
  result.decode_tokens = static_cast<std::int64_t>(result.output_ids.size()) - 1;
  result.decode_seconds = std::chrono::duration<double>(now - sequence.start).count();
  const bool goes_on = !request_.on_token || request_.on_token(sequence.index, id);
  sequence.is_done = true;
  if (is_stop(id)) {
    result.finish_reason = "stop";
  } else if (!goes_on) {
    result.finish_reason = "cancelled";
  } else if (static_cast<std::int64_t>(result.output_ids.size()) == sequence.most_ids) {
    result.finish_reason = "length";
  } else {
    sequence.is_done = false;
  }
}

bool BatchGeneration::is_stop(std::int32_t id) const {
  const auto contains = [id](std::span<const std::int32_t> ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  const SamplingParams& params = request_.params;
  return contains(params.stop_ids) ||
         (!params.ignore_eos && contains(model_.config().eos_token_ids));
}

void BatchGeneration::remove_done() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    if (!running_[i].is_done) continue;
    free_places_.push_back(running_[i].place);
    if (i < decoding_) --decoding_;
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    --i;
  }
}

}  // namespace torchao_cpp
