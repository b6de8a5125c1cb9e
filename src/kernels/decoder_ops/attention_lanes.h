// SPDX-License-Identifier: Apache-2.0
#pragma once

// AttentionKernels on the vectors of lanes.h, which see. Compiled with contraction: products and
// sums become multiply-adds where the machine has them.

#include <cstddef>
#include <type_traits>

#include "kernels/decoder_ops/decoder_kernels.h"
#include "kernels/decoder_ops/lanes.h"

namespace torchao_cpp {
namespace {

// Rows of a register tile. With kTileVectors vectors each: 16 sums of the 32 registers of AVX-512,
// 8 of 16 elsewhere.
constexpr int kTileRows = 4;
constexpr int kTileVectors = kLanes == 16 ? 4 : 2;
// From so many rows on a block of keys or values is widened once for all of them.
constexpr std::int64_t kWidenRows = 2 * kTileRows + 1;

/// Bytes that the caches take in at once.
constexpr std::size_t kLine = 64;

template <std::size_t kBytes>
inline void fetch(const void* p) {
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kBytes; i += kLine)
    __builtin_prefetch(static_cast<const char*>(p) + i);
}

/// c[r][j] += sum over k of a[r][k] * b[k][j] for columns j of V vectors, in the order of k. Of
/// `ahead`, where it is not null, what stands where b is read is fetched into the cache.
template <typename E, int R, int V>
inline void accumulate_tile(const float* const* a, std::int64_t depth, const typename E::Storage* b,
                            std::int64_t b_stride, float* const* c, std::int64_t j,
                            const typename E::Storage* ahead) {
  Floats tile[R][V];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) tile[r][v] = Float32::load(c[r] + j + v * kLanes);
  }
  for (std::int64_t k = 0; k < depth; ++k) {
    Floats columns[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) columns[v] = E::load(b + k * b_stride + j + v * kLanes);
    if (ahead != nullptr) fetch<V * kLanes * sizeof(*b)>(ahead + k * b_stride + j);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const float factor = a[r][k];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) tile[r][v] += factor * columns[v];
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) Float32::store(c[r] + j + v * kLanes, tile[r][v]);
  }
}

template <typename E, int R>
void accumulate(const float* const* a, std::int64_t depth, const typename E::Storage* b,
                std::int64_t cols, float* const* c, const typename E::Storage* ahead) {
  std::int64_t j = 0;
  for (; j + kTileVectors * kLanes <= cols; j += kTileVectors * kLanes)
    accumulate_tile<E, R, kTileVectors>(a, depth, b, cols, c, j, ahead);
  for (; j + kLanes <= cols; j += kLanes) accumulate_tile<E, R, 1>(a, depth, b, cols, c, j, ahead);
  if (j == cols) return;
  for (int r = 0; r < R; ++r) {
    const std::int64_t count = cols - j;
    Floats sum = load_first<Float32>(c[r] + j, count);
    for (std::int64_t k = 0; k < depth; ++k)
      sum += a[r][k] * load_first<E>(b + k * cols + j, count);
    store_first<Float32>(c[r] + j, sum, count);
  }
}

template <typename E>
class AttentionSpan {
 public:
  using Storage = typename E::Storage;

  AttentionSpan(const AttentionRows& rows, float* scores, float* block, const AttentionSums& out)
      : rows_(rows), count_(rows.tokens * rows.group), scores_(scores), block_(block), out_(out) {}

  void run(std::int64_t begin, std::int64_t end) const {
    const std::int64_t head_dim = rows_.head_dim;
    clear();
    for (std::int64_t start = begin; start < end; start += kKeyBlock) {
      const auto* keys = static_cast<const Storage*>(rows_.keys) + start * head_dim;
      const auto* values = static_cast<const Storage*>(rows_.values) + start * head_dim;
      for (std::int64_t i = 0; i < count_ * kKeyBlock; ++i) scores_[i] = 0;
      with_block(keys, values,
                 [&](auto e, const auto* b, const auto* ahead) { score<decltype(e)>(b, ahead); });
      softmax_block(start);
      const auto* next = start + kKeyBlock < end ? keys + kKeyBlock * head_dim : nullptr;
      with_block(values, next, [&](auto e, const auto* b, const auto* ahead) {
        weigh<decltype(e)>(b, ahead, start);
      });
    }
  }

 protected:
  void clear() const {
    for (std::int64_t i = 0; i < count_ * rows_.head_dim; ++i) out_.values[i] = 0;
    for (std::int64_t r = 0; r < count_; ++r) {
      out_.maximum[r] = -__builtin_inff();
      out_.total[r] = 0;
    }
  }
  // The scores of the block that starts at `start` become probabilities.
  void softmax_block(std::int64_t start) const {
    for (std::int64_t r = 0; r < count_; ++r) softmax(r, visible(r, start));
  }

  // How many keys of the block that starts at `start` row r sees; may be negative.
  std::int64_t visible(std::int64_t r, std::int64_t start) const {
    const std::int64_t seen = rows_.position + r / rows_.group - start + 1;
    return seen < kKeyBlock ? seen : kKeyBlock;
  }
  const float* q(std::int64_t r) const {
    return rows_.q + r / rows_.group * rows_.token_stride + r % rows_.group * rows_.head_dim;
  }

  // Calls fn.template operator()<R>(r) for all rows in groups of R = kTileRows, 2 or 1.
  template <typename F>
  void for_row_tiles(const F& fn) const {
    std::int64_t r = 0;
    for (; r + kTileRows <= count_; r += kTileRows) fn.template operator()<kTileRows>(r);
    for (; r + 2 <= count_; r += 2) fn.template operator()<2>(r);
    if (r < count_) fn.template operator()<1>(r);
  }
  // The same, with the number of keys of the block at `start` that they see, for rows that see any.
  // Rows go together where they see the same keys; what a row may not see is never multiplied, not
  // even by 0.
  template <typename F>
  void for_seeing_tiles(std::int64_t start, const F& fn) const {
    for (std::int64_t r = 0; r < count_;) {
      const std::int64_t n = visible(r, start);
      std::int64_t same = 1;
      while (same < kTileRows && r + same < count_ && visible(r + same, start) == n) ++same;
      const std::int64_t taken = same == kTileRows ? kTileRows : same >= 2 ? 2 : 1;
      if (n > 0 && taken == kTileRows) fn.template operator()<kTileRows>(r, n);
      if (n > 0 && taken == 2) fn.template operator()<2>(r, n);
      if (n > 0 && taken == 1) fn.template operator()<1>(r, n);
      r += taken;
    }
  }

  const AttentionRows& rows_;
  std::int64_t count_;
  float* scores_;
  float* block_;
  const AttentionSums& out_;

 private:
  template <typename F>
  void with_block(const Storage* data, const Storage* ahead, const F& fn) const {
    if constexpr (!std::is_same_v<E, Float32>) {
      if (count_ >= kWidenRows) {
        for_lanes(kKeyBlock * rows_.head_dim, [&](std::int64_t i, std::int64_t count) {
          store_first<Float32>(block_ + i, load_first<E>(data + i, count), count);
        });
        const float* const none = nullptr;
        return fn(Float32{}, static_cast<const float*>(block_), none);
      }
    }
    fn(E{}, data, ahead);
  }

  template <typename B>
  void score(const typename B::Storage* keys, const typename B::Storage* ahead) const {
    for_row_tiles([&]<int R>(std::int64_t r) { score_rows<B, R>(keys, ahead, r); });
  }

  template <typename B, int R>
  void score_rows(const typename B::Storage* keys, const typename B::Storage* ahead,
                  std::int64_t r) const {
    const float* a[R];
    float* c[R];
    for (int i = 0; i < R; ++i) {
      a[i] = q(r + i);
      c[i] = scores_ + (r + i) * kKeyBlock;
    }
    accumulate<B, R>(a, rows_.head_dim, keys, kKeyBlock, c, ahead);
  }

  // Scores become probabilities relative to the running maximum; earlier sums are rescaled to it.
  void softmax(std::int64_t r, std::int64_t n) const {
    if (n <= 0) return;
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(rows_.head_dim));
    float* s = scores_ + r * kKeyBlock;
    // What the row does not see has no weight.
    for (std::int64_t j = n; j < kKeyBlock; ++j) s[j] = -__builtin_inff();
    Floats most = set1(-__builtin_inff());
    for (std::int64_t j = 0; j < kKeyBlock; j += kLanes) most = larger(Float32::load(s + j), most);
    const float before = out_.maximum[r];
    const float here = largest_of(most) * scale;
    const float maximum = here > before ? here : before;
    Floats sum{};
    for (std::int64_t j = 0; j < kKeyBlock; j += kLanes) {
      const Floats p = exp_of(Float32::load(s + j) * scale - maximum);
      Float32::store(s + j, p);
      sum += p;
    }
    const float correction = before == maximum ? 1.0f : __builtin_expf(before - maximum);
    out_.maximum[r] = maximum;
    out_.total[r] = out_.total[r] * correction + sum_of(sum);
    if (correction == 1.0f) return;
    float* row = out_.values + r * rows_.head_dim;
    for (std::int64_t i = 0; i < rows_.head_dim; ++i) row[i] *= correction;
  }

  template <typename B>
  void weigh(const typename B::Storage* values, const typename B::Storage* ahead,
             std::int64_t start) const {
    for_seeing_tiles(start, [&]<int R>(std::int64_t r, std::int64_t n) {
      weigh_rows<B, R>(values, ahead, r, n);
    });
  }

  template <typename B, int R>
  void weigh_rows(const typename B::Storage* values, const typename B::Storage* ahead,
                  std::int64_t r, std::int64_t n) const {
    const float* a[R];
    float* c[R];
    for (int i = 0; i < R; ++i) {
      a[i] = scores_ + (r + i) * kKeyBlock;
      c[i] = out_.values + (r + i) * rows_.head_dim;
    }
    accumulate<B, R>(a, n, values, rows_.head_dim, c, ahead);
  }
};

template <typename E>
void attention_span(const AttentionRows& rows, std::int64_t begin, std::int64_t end, float* scores,
                    float* block, const AttentionSums& out) noexcept {
  AttentionSpan<E>(rows, scores, block, out).run(begin, end);
}

void attention_merge(const AttentionSums& from, std::int64_t rows, std::int64_t head_dim,
                     const AttentionSums& into) noexcept {
  for (std::int64_t r = 0; r < rows; ++r) {
    // Nothing seen: nothing to add.
    if (from.maximum[r] == -__builtin_inff()) continue;
    const float maximum = from.maximum[r] > into.maximum[r] ? from.maximum[r] : into.maximum[r];
    const float a = __builtin_expf(into.maximum[r] - maximum);
    const float b = __builtin_expf(from.maximum[r] - maximum);
    into.maximum[r] = maximum;
    into.total[r] = into.total[r] * a + from.total[r] * b;
    const float* x = from.values + r * head_dim;
    float* y = into.values + r * head_dim;
    for (std::int64_t i = 0; i < head_dim; ++i) y[i] = y[i] * a + x[i] * b;
  }
}

template <typename E>
void attention_store(const AttentionRows& rows, const AttentionSums& sums, void* out) noexcept {
  for (std::int64_t r = 0; r < rows.tokens * rows.group; ++r) {
    const float scale = 1.0f / sums.total[r];
    const float* x = sums.values + r * rows.head_dim;
    auto* y = static_cast<typename E::Storage*>(out) + r / rows.group * rows.token_stride +
              r % rows.group * rows.head_dim;
    for_lanes(rows.head_dim, [&](std::int64_t i, std::int64_t count) {
      store_first<E>(y + i, load_first<Float32>(x + i, count) * scale, count);
    });
  }
}

template <typename E>
constexpr AttentionKernels attention_kernels_for() {
  return {attention_span<E>, attention_merge, attention_store<E>};
}

const AttentionKernels& attention_kernels_here(DType dtype) noexcept {
  static constexpr AttentionKernels kFloat32Kernels = attention_kernels_for<Float32>();
  static constexpr AttentionKernels kFloat16Kernels = attention_kernels_for<Float16>();
  static constexpr AttentionKernels kBFloat16Kernels = attention_kernels_for<BFloat16>();
  if (dtype == DType::kBFloat16) return kBFloat16Kernels;
  return dtype == DType::kFloat16 ? kFloat16Kernels : kFloat32Kernels;
}

}  // namespace
}  // namespace torchao_cpp
