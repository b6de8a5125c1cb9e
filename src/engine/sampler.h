// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "models/decoder_steps.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {

/// Chooses the next id from logits. The same params and logits give the same ids on every machine:
/// mt19937_64 and no distribution of the standard library.
class Sampler {
 public:
  /// Throws Error naming a parameter that is out of range.
  Sampler(const SamplingParams& params, std::int64_t vocab_size);

  /// Greedy: the first id with the largest logit. Else softmax(logits / temperature) over the top_k
  /// largest, of these the fewest whose probabilities reach top_p. Throws Error when a logit is NaN
  /// or the largest is not finite. Does not allocate.
  std::int32_t next(std::span<const float> logits);
  /// Whether the largest logit is all that counts.
  bool is_greedy() const noexcept { return params_.temperature == 0; }
  /// Greedy: the id of the largest logit, whoever found it. Throws as next() does.
  static std::int32_t take_best(const BestLogit& best);

 private:
  bool is_cut() const { return params_.top_k > 0 || params_.top_p < 1; }
  std::int32_t sample_cut(std::span<const float> logits);
  void order_above(std::span<const float> logits, float least);
  double weight_at(std::size_t rank) const;   ///< Of order_[rank].
  double weight_of(std::size_t count) const;  ///< Of the first of order_, together.
  double uniform();                           ///< In [0, 1).

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<std::int32_t> order_;
  std::vector<float> weights_;  ///< Relative to the likeliest id's.
};

}  // namespace torchao_cpp
