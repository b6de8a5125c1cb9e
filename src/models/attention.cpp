// SPDX-License-Identifier: Apache-2.0
#include "models/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <type_traits>

#include "base/parallel.h"
#include "models/element.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kBlock = KvCache::kBlock;
// Query rows (tokens x heads of one group) that share one pass over the keys: each widened key is
// used this often, and their scores and sums (32 x (64 + head_dim) floats) stay in the first two
// cache levels.
constexpr std::int64_t kRowsPerTask = 32;
// Columns of a register tile: two rows of 16 floats are 8 of the 16 SSE registers.
constexpr std::int64_t kTileCols = 16;

// Four floats in one register of every x86-64 and ARMv8 machine; GCC and clang lower it elsewhere.
// Left to itself GCC 12 keeps the tile below in memory: 4 instead of 21 GFLOP/s.
typedef float Float4 __attribute__((vector_size(16)));
constexpr int kTileVectors = kTileCols / 4;

inline Float4 load4(const float* p) noexcept {
  Float4 v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// c[r][j] += sum over k of a[r][k] * b[k][j], in the order of k, for R rows.
template <int R>
void accumulate(const float* const* a, std::int64_t depth, const float* b, std::int64_t b_stride,
                std::int64_t cols, float* const* c) noexcept {
  const std::int64_t whole = cols / kTileCols * kTileCols;
  for (std::int64_t j0 = 0; j0 < whole; j0 += kTileCols) {
    Float4 tile[R][kTileVectors];
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kTileVectors; ++v) tile[r][v] = load4(c[r] + j0 + 4 * v);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
      const float* b_row = b + k * b_stride + j0;
      Float4 columns[kTileVectors];
      for (int v = 0; v < kTileVectors; ++v) columns[v] = load4(b_row + 4 * v);
      for (int r = 0; r < R; ++r) {
        const float factor = a[r][k];
        for (int v = 0; v < kTileVectors; ++v) tile[r][v] += factor * columns[v];
      }
    }
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < kTileVectors; ++v)
        std::memcpy(c[r] + j0 + 4 * v, &tile[r][v], sizeof(Float4));
    }
  }
  for (std::int64_t j = whole; j < cols; ++j) {
    for (int r = 0; r < R; ++r) {
      float sum = c[r][j];
      for (std::int64_t k = 0; k < depth; ++k) sum += a[r][k] * b[k * b_stride + j];
      c[r][j] = sum;
    }
  }
}

template <typename E>
const float* as_float(const typename E::Storage* in, std::int64_t n, float* scratch) noexcept {
  if constexpr (std::is_same_v<typename E::Storage, float>) {
    return in;
  } else {
    for (std::int64_t i = 0; i < n; ++i) scratch[i] = E::load(in[i]);
    return scratch;
  }
}

// The tokens [first_row, first_row + tokens) of one kv head: `group` query rows for each.
template <typename E>
struct Task {
  const AttentionShape& shape;
  const typename E::Storage* keys;
  const typename E::Storage* values;
  const float* q;  // of first_row and the first head of the group
  std::int64_t tokens;
  std::int64_t position;  // of first_row
  typename E::Storage* out;
  float* scores;   // [rows, kBlock]
  float* sums;     // [rows, head_dim]
  float* maximum;  // [rows]
  float* total;    // [rows]
  float* block;    // [kBlock, head_dim]

  std::int64_t rows() const noexcept { return tokens * shape.group(); }
  std::int64_t row_position(std::int64_t r) const noexcept { return position + r / shape.group(); }
  // Element offset of row r in q and out.
  std::int64_t row_offset(std::int64_t r) const noexcept {
    return (r / shape.group() * shape.num_heads + r % shape.group()) * shape.head_dim;
  }
  // How many keys of the block that starts at `start` row r may see; may be negative.
  std::int64_t visible(std::int64_t r, std::int64_t start) const noexcept {
    return std::min(kBlock, row_position(r) - start + 1);
  }

  void run() const noexcept {
    std::fill_n(sums, rows() * shape.head_dim, 0.0f);
    std::fill_n(maximum, rows(), -std::numeric_limits<float>::infinity());
    std::fill_n(total, rows(), 0.0f);
    for (std::int64_t start = 0; start < position + tokens; start += kBlock) {
      score_block(start);
      softmax_block(start);
      value_block(start);
    }
    for (std::int64_t r = 0; r < rows(); ++r) {
      const float scale = 1.0f / total[r];
      for (std::int64_t i = 0; i < shape.head_dim; ++i)
        out[row_offset(r) + i] = E::store(sums[r * shape.head_dim + i] * scale);
    }
  }

  void score_block(std::int64_t start) const noexcept {
    const float* k = as_float<E>(keys + start * shape.head_dim, kBlock * shape.head_dim, block);
    std::fill_n(scores, rows() * kBlock, 0.0f);
    std::int64_t r = 0;
    for (; r + 2 <= rows(); r += 2) {
      const float* a[2] = {q + row_offset(r), q + row_offset(r + 1)};
      float* c[2] = {scores + r * kBlock, scores + (r + 1) * kBlock};
      accumulate<2>(a, shape.head_dim, k, kBlock, kBlock, c);
    }
    if (r < rows()) {
      const float* a[1] = {q + row_offset(r)};
      float* c[1] = {scores + r * kBlock};
      accumulate<1>(a, shape.head_dim, k, kBlock, kBlock, c);
    }
  }

  // Scores become probabilities relative to the running maximum; earlier sums are rescaled to it.
  void softmax_block(std::int64_t start) const noexcept {
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
    for (std::int64_t r = 0; r < rows(); ++r) {
      const std::int64_t n = visible(r, start);
      if (n <= 0) continue;
      float* s = scores + r * kBlock;
      float largest = maximum[r];
      for (std::int64_t j = 0; j < n; ++j) {
        s[j] *= scale;
        largest = std::max(largest, s[j]);
      }
      float sum = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        s[j] = std::exp(s[j] - largest);
        sum += s[j];
      }
      const float correction = std::exp(maximum[r] - largest);
      maximum[r] = largest;
      total[r] = total[r] * correction + sum;
      float* row_sums = sums + r * shape.head_dim;
      for (std::int64_t i = 0; i < shape.head_dim; ++i) row_sums[i] *= correction;
    }
  }

  void value_block(std::int64_t start) const noexcept {
    const float* v = as_float<E>(values + start * shape.head_dim, kBlock * shape.head_dim, block);
    const std::int64_t head_dim = shape.head_dim;
    for (std::int64_t r = 0; r < rows();) {
      const std::int64_t n = visible(r, start);
      // Two rows go together where they see the same keys; what a row may not see is never
      // multiplied, not even by 0.
      const bool has_pair = r + 1 < rows() && visible(r + 1, start) == n;
      const float* a[2] = {scores + r * kBlock, scores + (r + 1) * kBlock};
      float* c[2] = {sums + r * head_dim, sums + (r + 1) * head_dim};
      if (n > 0 && has_pair) accumulate<2>(a, n, v, head_dim, head_dim, c);
      if (n > 0 && !has_pair) accumulate<1>(a, n, v, head_dim, head_dim, c);
      r += has_pair ? 2 : 1;
    }
  }
};

}  // namespace

Attention::Attention(const AttentionShape& shape, std::int64_t max_rows)
    : shape_(shape), tokens_per_task_(std::max<std::int64_t>(1, kRowsPerTask / shape.group())) {
  const std::int64_t rows = tokens_per_task_ * shape.group();
  floats_per_slot_ = rows * (kBlock + shape.head_dim + 2) + kBlock * shape.head_dim;
  slots_ = std::max<std::int64_t>(num_threads(), std::thread::hardware_concurrency());
  scratch_.resize(static_cast<std::size_t>(slots_ * floats_per_slot_));
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
  if (segments.empty()) return;
  cut(segments);
  const auto count = static_cast<std::int64_t>(parts_.size());
  const std::int64_t task_rows = tokens_per_task_ * shape_.group();
  const std::int64_t row_elements = shape_.num_heads * shape_.head_dim;
  with_element(segments[0].cache->dtype(), [&](auto e) {
    using E = decltype(e);
    using Storage = typename E::Storage;
    // Late tokens see more keys: slots take every n-th part, which balances them.
    const std::int64_t slots = std::min(slots_, count);
    parallel_for(slots, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t slot = begin; slot < end; ++slot) {
        float* scores = scratch_.data() + slot * floats_per_slot_;
        float* sums = scores + task_rows * kBlock;
        float* maximum = sums + task_rows * shape_.head_dim;
        for (std::int64_t t = slot; t < count; t += slots) {
          const Part& part = parts_[static_cast<std::size_t>(t)];
          const KvCache& cache = *part.segment->cache;
          const std::int64_t offset =
              part.first_row * row_elements + part.head * shape_.group() * shape_.head_dim;
          Task<E>{shape_,
                  reinterpret_cast<const Storage*>(cache.keys(layer, part.head)),
                  reinterpret_cast<const Storage*>(cache.values(layer, part.head)),
                  q + offset,
                  part.rows,
                  part.position,
                  static_cast<Storage*>(out) + offset,
                  scores,
                  sums,
                  maximum,
                  maximum + task_rows,
                  maximum + 2 * task_rows}
              .run();
        }
      }
    });
  });
}

}  // namespace torchao_cpp
