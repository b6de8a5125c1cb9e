// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "models/kv_cache.h"

namespace torchao_cpp {

/// Sizes of grouped-query attention: head h reads kv head h / (num_heads / num_kv_heads).
struct AttentionShape {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;

  std::int64_t group() const noexcept { return num_heads / num_kv_heads; }
};

/// Causal softmax(q kᵀ / sqrt(head_dim)) v over the cache, in blocks of keys with a running
/// maximum.
///
/// q, k and v have values of the compute dtype; scores, probabilities and sums stay float32, and
/// the output is rounded once. torch's CPU kernel for sdpa does the same but rounds probabilities
/// to bfloat16 before the second product. A row's result depends neither on the number of threads
/// nor on how a prompt is cut.
class Attention {
 public:
  explicit Attention(const AttentionShape& shape);

  /// q: float32 [rows, num_heads, head_dim] of the tokens at position, position + 1, ..., whose
  /// keys and values are in the cache; out: [rows, num_heads * head_dim] of the cache's dtype. Does
  /// not allocate.
  void run(const KvCache& cache, std::int64_t layer, const float* q, std::int64_t rows,
           std::int64_t position, void* out) noexcept;

 private:
  AttentionShape shape_;
  std::int64_t tokens_per_task_;
  std::int64_t floats_per_slot_;
  std::int64_t slots_;  ///< Tasks that may run at the same time.
  std::vector<float> scratch_;
};

}  // namespace torchao_cpp
