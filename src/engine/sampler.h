// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

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

 private:
  std::int32_t sample(std::span<const float> logits, float largest);

  SamplingParams params_;
  std::mt19937_64 random_;
  std::vector<std::int32_t> order_;
  std::vector<double> probability_;
};

}  // namespace torchao_cpp
