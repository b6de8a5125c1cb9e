// SPDX-License-Identifier: Apache-2.0
#pragma once

// dot() of a FloatProduct in bfloat16; see pair_code_reader.h.

#include "kernels/float_product/pair_code_reader.h"

namespace torchao_cpp {
namespace {

/// Weight rows that are multiplied at a time: each vector of x is loaded once for all of them. Pays
/// for few bits; of more, memory cannot give two rows at a time as fast as one.
template <typename Codes, int kM>
constexpr int kDotRowsAtOnce = kM > 1 && Codes::kSteps > 1 ? 2 : 1;
/// Chains of sums for each row of the weight and of x.
template <typename Codes, int kM>
constexpr int kDotChains = kM == 1                          ? 4
                           : kDotRowsAtOnce<Codes, kM> == 1 ? 2
                                                            : 1;

/// Lane i: the sum of the lanes of rows[i]. kM is 1, 4 or 8.
template <int kM>
TORCHAO_CPP_ALWAYS_INLINE Floats sums_of_lanes(const Floats (&rows)[kM]) {
  if constexpr (kM == 1) {
    return Simd::set1(Simd::sum(rows[0]));
  } else {
    // Four rows side by side in each quarter of a vector.
    Floats quads[kM / 4];
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM / 4; ++i) {
      Floats two[2];
      TORCHAO_CPP_UNROLL
      for (int j = 0; j < 2; ++j) {
        const Floats a = rows[4 * i + 2 * j], b = rows[4 * i + 2 * j + 1];
        two[j] = Simd::add(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
      }
      quads[i] = Simd::add(_mm512_shuffle_ps(two[0], two[1], 0x44),
                           _mm512_shuffle_ps(two[0], two[1], 0xEE));
    }
    const Floats first = quads[0], last = quads[kM / 4 - 1];
    const Floats halves =
        Simd::add(_mm512_shuffle_f32x4(first, last, 0x44), _mm512_shuffle_f32x4(first, last, 0xEE));
    return Simd::add(_mm512_shuffle_f32x4(halves, halves, 0x08),
                     _mm512_shuffle_f32x4(halves, halves, 0x0D));
  }
}

/// Sums of kRows weight rows with kM rows of x, [columns / 64, rounded up][kM][64].
template <int kM, int kRows, int kSums>
struct PairDotSink {
  const std::byte* x;
  Floats sums[kRows][kM][kSums];

  TORCHAO_CPP_ALWAYS_INLINE explicit PairDotSink(const std::byte* rows) : x(rows) {
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) TORCHAO_CPP_UNROLL
    for (int u = 0; u < kSums; ++u) sums[r][i][u] = Simd::zero();
  }

  TORCHAO_CPP_ALWAYS_INLINE static void prefetch(const std::byte* p) { prefetch_far(p); }
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, const Pairs (&v)[kRows][2]) {
    const std::byte* const at = x + k * (2 * kM);
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      const Pairs x0 = _mm512_loadu_si512(at + i * 128);
      const Pairs x1 = _mm512_loadu_si512(at + i * 128 + 64);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sums[r][i][0] = add_products(sums[r][i][0], v[r][0], x0);
        sums[r][i][kSums - 1] = add_products(sums[r][i][kSums - 1], v[r][1], x1);
      }
    }
    if constexpr (kSums == 4) {
      // Longer chains of sums: the other two are next.
      Floats(&chains)[kSums] = sums[0][0];
      const Floats t0 = chains[0], t3 = chains[3];
      chains[0] = chains[1];
      chains[3] = chains[2];
      chains[1] = t0;
      chains[2] = t3;
    }
  }

  /// Into out[i * stride] for m rows of x: added to what is there, unless is_first.
  void store(int r, std::int64_t m, bool is_first, std::int64_t stride, float* out) const {
    Floats rows[kM];
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      rows[i] = sums[r][i][0];
      TORCHAO_CPP_UNROLL
      for (int u = 1; u < kSums; ++u) rows[i] = Simd::add(rows[i], sums[r][i][u]);
    }
    alignas(64) float totals[kLanes];
    Simd::store(totals, sums_of_lanes(rows));
    for (std::int64_t i = 0; i < m; ++i)
      out[i * stride] = is_first ? totals[i] : out[i * stride] + totals[i];
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
    constexpr int kRows = kDotRowsAtOnce<Codes, kM>;
    constexpr int kChains = kDotChains<Codes, kM>;
    const bool is_first = k0 == 0;
    for_pair_rows<Codes, kRows>(w, n0, count, range, scratch,
                                [&](std::int64_t i, const typename Codes::Scales(&scales)[kRows]) {
                                  if (i + kRows <= count) {
                                    PairDotSink<kM, kRows, kChains> sink(x);
                                    read_rows<Codes>(w, scales, n0 + i, range, ahead, sink);
                                    TORCHAO_CPP_UNROLL
                                    for (int r = 0; r < kRows; ++r)
                                      sink.store(r, m, is_first, count, sums + i + r);
                                  } else {
                                    PairDotSink<kM, 1, kChains> sink(x);
                                    const typename Codes::Scales last[1] = {scales[0]};
                                    read_rows<Codes>(w, last, n0 + i, range, ahead, sink);
                                    sink.store(0, m, is_first, count, sums + i);
                                  }
                                });
  }
}

/// Rows of x that dot_few_rows() takes at most, and that dot_pairs() does: of more, the weight rows
/// are read again, out of the second-level cache.
constexpr std::int64_t kFewRows = 12;
constexpr std::int64_t kMostPairRows = 8;

// Rows of x that dot_pairs() takes for m <= kMostPairRows of them; they lie together, 64 columns of
// each after the other.
std::int64_t pair_x_rows(std::int64_t m) { return m == 1 ? 1 : m <= 4 ? 4 : kMostPairRows; }

/// Calls fn(m0, rows, at) for the rows of x that dot_pairs() takes at a time; they are packed at
/// byte `at`.
template <typename F>
void for_pair_x(std::int64_t m, std::int64_t columns, const F& fn) {
  std::int64_t at = 0;
  for (std::int64_t m0 = 0; m0 < m; m0 += kMostPairRows) {
    const std::int64_t rows = smaller(kMostPairRows, m - m0);
    fn(m0, rows, at);
    at += pair_x_rows(rows) * pair_row_bytes(columns);
  }
}

std::int64_t pair_dot_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  std::int64_t bytes = 0;
  for_pair_x(m, columns, [&](std::int64_t, std::int64_t rows, std::int64_t at) {
    bytes = at + pair_x_rows(rows) * pair_row_bytes(columns);
  });
  return bytes;
}

// m <= kMostPairRows rows.
template <CodeForm kForm>
void pack_pair_rows(const CodeRows& w, const std::byte* x, std::int64_t m, std::byte* packed) {
  const PairOrder order = pair_order(w);
  const std::int64_t rows = pair_x_rows(m);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::byte* out = packed + r * 128;
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns, out += rows * 128) {
      Pairs v0 = _mm512_setzero_si512(), v1 = v0;
      if (r < m)
        load_x<kForm>(x + (r * w.columns + k) * code_bytes<kForm>(), w.columns - k, order, v0, v1);
      _mm512_storeu_si512(out, v0);
      _mm512_storeu_si512(out + 64, v1);
    }
  }
}

void pack_pair_dot_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                     void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  auto* const to = static_cast<std::byte*>(packed);
  for_pair_x(m, w.columns, [&](std::int64_t m0, std::int64_t rows, std::int64_t at) {
    if (form == CodeForm::kBFloat16) {
      pack_pair_rows<CodeForm::kBFloat16>(w, from + m0 * w.columns * 2, rows, to + at);
    } else {
      pack_pair_rows<CodeForm::kFloat32>(w, from + m0 * w.columns * 4, rows, to + at);
    }
  });
}

/// dot() of m <= kFewRows rows, by the reader of the weight. scratch: pair_row_floats(w).
template <typename Codes>
void dot_few_rows(const CodeRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                  std::int64_t m, float* scratch, float* sums) {
  for_pair_x(m, w.columns, [&](std::int64_t m0, std::int64_t rows, std::int64_t at) {
    float* const out = sums + m0 * count;
    if (rows == 1) return dot_pairs<Codes, 1>(w, n0, count, x + at, rows, scratch, out);
    if (rows <= 4) return dot_pairs<Codes, 4>(w, n0, count, x + at, rows, scratch, out);
    dot_pairs<Codes, kMostPairRows>(w, n0, count, x + at, rows, scratch, out);
  });
}

}  // namespace
}  // namespace torchao_cpp
