// SPDX-License-Identifier: Apache-2.0
#include "models/attention.h"

#include <algorithm>
#include <thread>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

// Query rows (tokens x heads of one group) that share one pass over the keys: each widened key is
// used this often, and their scores and sums (64 x (64 + 2 * head_dim) floats) stay in the first
// two cache levels.
constexpr std::int64_t kRowsPerTask = 64;
// With fewer parts than this for each slot, the spans of a part are tasks of their own.
constexpr std::int64_t kPartsPerSlot = 4;

}  // namespace

Attention::Attention(const AttentionShape& shape, DType dtype, std::int64_t max_rows,
                     std::int64_t max_length)
    : shape_(shape),
      dtype_(dtype),
      kernels_(attention_kernels(dtype)),
      tokens_per_task_(std::max<std::int64_t>(1, kRowsPerTask / shape.group())),
      slots_(std::max<std::int64_t>(num_threads(), std::thread::hardware_concurrency())),
      max_spans_((max_length + kSpan - 1) / kSpan) {
  const std::int64_t rows = tokens_per_task_ * shape.group();
  floats_per_slot_ = rows * kKeyBlock + (kKeyBlock + rows) * shape.head_dim + 2 * sums_floats(rows);
  scratch_.resize(static_cast<std::size_t>(slots_ * floats_per_slot_));
  const std::int64_t split_parts = std::min(slots_ * kPartsPerSlot, max_rows * shape.num_kv_heads);
  span_sums_.resize(
      static_cast<std::size_t>(split_parts * max_spans_ * sums_floats(shape.group())));
  parts_.reserve(static_cast<std::size_t>(max_rows * shape.num_kv_heads));
}

void Attention::cut(std::span<const AttentionSegment> segments) noexcept {
  parts_.clear();
  std::int64_t before = 0;
  for (const AttentionSegment& segment : segments) {
    for (std::int64_t first = 0; first < segment.rows; first += tokens_per_task_) {
      const std::int64_t rows = std::min(tokens_per_task_, segment.rows - first);
      for (std::int64_t head = 0; head < shape_.num_kv_heads; ++head)
        parts_.push_back({&segment, head, before + first, segment.position + first, rows});
    }
    before += segment.rows;
  }
}

void Attention::run(std::span<const AttentionSegment> segments, std::int64_t layer, const float* q,
                    void* out) noexcept {
  cut(segments);
  const auto count = static_cast<std::int64_t>(parts_.size());
  const bool is_decode = std::all_of(segments.begin(), segments.end(),
                                     [](const AttentionSegment& s) { return s.rows == 1; });
  const bool is_long = std::any_of(segments.begin(), segments.end(), [](const AttentionSegment& s) {
    return s.position + s.rows > kSpan;
  });
  if (is_decode && is_long && count < num_threads() * kPartsPerSlot &&
      count <= slots_ * kPartsPerSlot) {
    run_spans(layer, q, out);
  } else {
    run_whole(layer, q, out);
  }
}

// Late tokens see more keys: slots take every n-th task, which balances them.
template <typename F>
void Attention::for_each(std::int64_t count, const F& fn) noexcept {
  const std::int64_t slots = std::min(slots_, count);
  parallel_for(slots, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      for (std::int64_t t = index; t < count; t += slots) fn(t, slot(index));
    }
  });
}

void Attention::run_whole(std::int64_t layer, const float* q, void* out) noexcept {
  for_each(static_cast<std::int64_t>(parts_.size()), [&](std::int64_t t, const Slot& slot) {
    const Part& part = parts_[static_cast<std::size_t>(t)];
    const AttentionRows rows = rows_of(part, layer, q);
    const std::int64_t length = part.position + part.rows;
    kernels_.span(rows, 0, std::min(kSpan, length), slot.scores, slot.block, slot.sums);
    for (std::int64_t begin = kSpan; begin < length; begin += kSpan) {
      kernels_.span(rows, begin, std::min(begin + kSpan, length), slot.scores, slot.block,
                    slot.span);
      kernels_.merge(slot.span, rows.rows(), shape_.head_dim, slot.sums);
    }
    kernels_.store(rows, slot.sums, out_of(part, out));
  });
}

void Attention::run_spans(std::int64_t layer, const float* q, void* out) noexcept {
  const auto count = static_cast<std::int64_t>(parts_.size());
  const std::int64_t group = shape_.group();
  const auto sums_of = [&](std::int64_t part, std::int64_t span) {
    return sums_at(span_sums_.data() + (part * max_spans_ + span) * sums_floats(group), group);
  };
  std::int64_t spans = 0;
  for (const Part& part : parts_) spans = std::max(spans, part.position / kSpan + 1);
  for_each(count * spans, [&](std::int64_t t, const Slot& slot) {
    const Part& part = parts_[static_cast<std::size_t>(t / spans)];
    const std::int64_t begin = t % spans * kSpan;
    const std::int64_t end = std::min(begin + kSpan, part.position + 1);
    if (begin >= end) return;
    kernels_.span(rows_of(part, layer, q), begin, end, slot.scores, slot.block,
                  sums_of(t / spans, t % spans));
  });
  for (std::int64_t p = 0; p < count; ++p) {
    const Part& part = parts_[static_cast<std::size_t>(p)];
    const AttentionSums sums = sums_of(p, 0);
    for (std::int64_t span = 1; span <= part.position / kSpan; ++span)
      kernels_.merge(sums_of(p, span), group, shape_.head_dim, sums);
    kernels_.store(rows_of(part, layer, q), sums, out_of(part, out));
  }
}

AttentionRows Attention::rows_of(const Part& part, std::int64_t layer,
                                 const float* q) const noexcept {
  const KvCache& cache = *part.segment->cache;
  return {cache.keys(layer, part.head),
          cache.values(layer, part.head),
          q + offset_of(part),
          part.rows,
          part.position,
          shape_.group(),
          shape_.num_heads * shape_.head_dim,
          shape_.head_dim};
}

std::int64_t Attention::offset_of(const Part& part) const noexcept {
  return (part.first_row * shape_.num_heads + part.head * shape_.group()) * shape_.head_dim;
}

void* Attention::out_of(const Part& part, void* out) const noexcept {
  return static_cast<std::byte*>(out) + offset_of(part) * dtype_size_bytes(dtype_);
}

AttentionSums Attention::sums_at(float* floats, std::int64_t rows) const noexcept {
  float* const maximum = floats + rows * shape_.head_dim;
  return {floats, maximum, maximum + rows};
}

Attention::Slot Attention::slot(std::int64_t index) noexcept {
  const std::int64_t rows = tokens_per_task_ * shape_.group();
  float* const scores = scratch_.data() + index * floats_per_slot_;
  float* const block = scores + rows * kKeyBlock;
  float* const sums = block + (kKeyBlock + rows) * shape_.head_dim;
  return {scores, block, sums_at(sums, rows), sums_at(sums + sums_floats(rows), rows)};
}

}  // namespace torchao_cpp
