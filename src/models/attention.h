// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/decoder_ops/decoder_kernels.h"
#include "models/kv_cache.h"

namespace torchao_cpp {

/// Sizes of grouped-query attention: head h reads kv head h / (num_heads / num_kv_heads).
struct AttentionShape {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;

  std::int64_t group() const noexcept { return num_heads / num_kv_heads; }
};

/// Consecutive tokens of one sequence, at position, position + 1, ...
struct AttentionSegment {
  const KvCache* cache = nullptr;
  std::int64_t rows = 0;
  std::int64_t position = 0;
};

/// Causal softmax(q kᵀ / sqrt(head_dim)) v over the cache, in blocks of keys with a running
/// maximum; the sums of every kSpan keys are made by themselves and merged in order.
///
/// q, k and v have values of the compute dtype; scores, probabilities and sums stay float32, and
/// the output is rounded once. torch's CPU kernel for sdpa does the same but rounds probabilities
/// to bfloat16 before the second product. A row's result depends neither on the number of threads
/// nor on how a prompt is cut, nor on the other sequences.
class Attention {
 public:
  /// Keys whose sums are merged into those before: the parts that one row's work can be cut into.
  static constexpr std::int64_t kSpan = 512;

  /// For at most `max_rows` rows at a time, of sequences of at most `max_length` tokens. Throws
  /// Error when TORCHAO_CPP_CPU_ISA names no instruction set.
  Attention(const AttentionShape& shape, DType dtype, std::int64_t max_rows,
            std::int64_t max_length);

  /// q: float32 [rows, num_heads, head_dim], the rows of the first segment, then of the second,
  /// ...; their keys and values are in the caches, which have one dtype. out: [rows, num_heads *
  /// head_dim] of that dtype. Does not allocate.
  void run(std::span<const AttentionSegment> segments, std::int64_t layer, const float* q,
           void* out) noexcept;

 private:
  /// Tokens of one segment with one kv head.
  struct Part {
    const AttentionSegment* segment = nullptr;
    std::int64_t head = 0;
    std::int64_t first_row = 0;  ///< Among all rows.
    std::int64_t position = 0;   ///< Of first_row.
    std::int64_t rows = 0;
  };

  /// Scratch of one task.
  struct Slot {
    float* scores;
    float* block;
    AttentionSums sums;  ///< Over all keys.
    AttentionSums span;
  };

  void cut(std::span<const AttentionSegment> segments) noexcept;
  void run_whole(std::int64_t layer, const float* q, void* out) noexcept;
  void run_spans(std::int64_t layer, const float* q, void* out) noexcept;
  template <typename F>
  void for_each(std::int64_t count, const F& fn) noexcept;
  AttentionRows rows_of(const Part& part, std::int64_t layer, const float* q) const noexcept;
  Slot slot(std::int64_t index) noexcept;
  AttentionSums sums_at(float* floats, std::int64_t rows) const noexcept;
  std::int64_t sums_floats(std::int64_t rows) const noexcept {
    return rows * (shape_.head_dim + 2);
  }
  void* out_of(const Part& part, void* out) const noexcept;
  std::int64_t offset_of(const Part& part) const noexcept;

  AttentionShape shape_;
  DType dtype_;
  const AttentionKernels& kernels_;
  std::int64_t tokens_per_task_;
  std::int64_t floats_per_slot_;
  std::int64_t slots_;  ///< Tasks that may run at the same time.
  std::int64_t max_spans_;
  std::vector<float> scratch_;
  std::vector<float> span_sums_;  ///< Of single tokens, [parts, max_spans_].
  std::vector<Part> parts_;       ///< Of one run; capacity for the most there can be.
};

}  // namespace torchao_cpp
