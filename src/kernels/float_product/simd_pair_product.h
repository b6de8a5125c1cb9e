// SPDX-License-Identifier: Apache-2.0
#pragma once

// dot() of a FloatProduct in bfloat16; see pair_code_reader.h.

#include "kernels/float_product/pair_code_reader.h"

namespace torchao_cpp {
namespace {

/// Sums of one weight row with kM rows of x, [columns / 64, rounded up][kM][64].
template <int kM>
struct PairDotSink {
  static constexpr int kSums = kM == 1 ? 4 : 2;
  const std::byte* x;
  Floats sums[kM][kSums];

  TORCHAO_CPP_ALWAYS_INLINE explicit PairDotSink(const std::byte* rows) : x(rows) {
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) TORCHAO_CPP_UNROLL
    for (int u = 0; u < kSums; ++u) sums[i][u] = Simd::zero();
  }

  TORCHAO_CPP_ALWAYS_INLINE static void prefetch(const std::byte* p) { prefetch_far(p); }
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Pairs v0, Pairs v1) {
    const std::byte* const at = x + k * (2 * kM);
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      sums[i][0] = add_products(sums[i][0], v0, _mm512_loadu_si512(at + i * 128));
      sums[i][kSums - 1] =
          add_products(sums[i][kSums - 1], v1, _mm512_loadu_si512(at + i * 128 + 64));
    }
    if constexpr (kSums == 4) {
      // Longer chains of sums: the other two are next.
      const Floats t0 = sums[0][0], t3 = sums[0][3];
      sums[0][0] = sums[0][1];
      sums[0][3] = sums[0][2];
      sums[0][1] = t0;
      sums[0][2] = t3;
    }
  }

  float sum(int i) const {
    Floats total = sums[i][0];
    TORCHAO_CPP_UNROLL
    for (int u = 1; u < kSums; ++u) total = Simd::add(total, sums[i][u]);
    return Simd::sum(total);
  }
};

// Columns at a time, so that kM rows of x, and the tables of the blocks of a row, take no more than
// half of a first-level cache of 32 KiB: the weight passes through the rest of it.
template <int kM>
std::int64_t dot_columns(const CodeRows& w) {
  const std::int64_t columns = kM == 1 ? 16384 : 8192 / kM;
  return pair_table_bytes(w) <= 4096 ? columns : smaller(columns, 128 * w.block_columns);
}

std::int64_t pair_row_bytes(std::int64_t columns) { return rounded_up(columns, kPairColumns) * 2; }

template <typename Codes, int kM>
[[gnu::noinline]] void dot_pairs(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                 const std::byte* x, std::int64_t m, float* scratch, float* sums) {
  const std::int64_t columns = dot_columns<kM>(w);
  const std::int64_t ahead = dot_bytes_ahead(w, columns);
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += columns) {
    const PairRange range(w, k0, smaller(w.columns, k0 + columns));
    const auto row = [&](std::int64_t i) { return n0 + i; };
    for_pair_rows<Codes>(w, count, range, scratch, row, [&](std::int64_t i, const auto& scales) {
      PairDotSink<kM> sink(x);
      Codes::read(w, scales, n0 + i, range, ahead, sink);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kM; ++r) {
        if (r < m) {
          float& sum = sums[r * count + i];
          sum = k0 == 0 ? sink.sum(r) : sum + sink.sum(r);
        }
      }
    });
  }
}

// Rows of x that dot_pairs() takes for m of them; they lie together, 64 columns of each after the
// other.
std::int64_t pair_x_rows(std::int64_t m) { return m == 1 ? 1 : m <= 4 ? 4 : 8; }

std::int64_t pair_dot_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return pair_x_rows(m) * pair_row_bytes(columns);
}

void pack_pair_dot_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                     void* packed) noexcept {
  const PairOrder order = pair_order(w);
  const auto* from = static_cast<const std::byte*>(x);
  auto* const to = static_cast<std::byte*>(packed);
  const std::int64_t bytes = form == CodeForm::kBFloat16 ? 2 : 4;
  const std::int64_t rows = pair_x_rows(m);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::byte* out = to + r * 128;
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns, out += rows * 128) {
      const std::byte* at = from + (r * w.columns + k) * bytes;
      Pairs v0 = _mm512_setzero_si512(), v1 = v0;
      if (r >= m) {
      } else if (form == CodeForm::kBFloat16) {
        load_x<CodeForm::kBFloat16>(at, w.columns - k, order, v0, v1);
      } else {
        load_x<CodeForm::kFloat32>(at, w.columns - k, order, v0, v1);
      }
      _mm512_storeu_si512(out, v0);
      _mm512_storeu_si512(out + 64, v1);
    }
  }
}

/// Rows of x that dot_few_rows() takes at most.
constexpr std::int64_t kFewRows = 8;

/// dot() of m <= kFewRows rows, by the reader of the weight. scratch: pair_row_floats(w).
template <typename Codes>
void dot_few_rows(const CodeRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                  std::int64_t m, float* scratch, float* sums) {
  if (m == 1) return dot_pairs<Codes, 1>(w, n0, count, x, m, scratch, sums);
  if (m <= 4) return dot_pairs<Codes, 4>(w, n0, count, x, m, scratch, sums);
  dot_pairs<Codes, kFewRows>(w, n0, count, x, m, scratch, sums);
}

}  // namespace
}  // namespace torchao_cpp
