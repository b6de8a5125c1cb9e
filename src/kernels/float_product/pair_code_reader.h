// SPDX-License-Identifier: Apache-2.0
#pragma once

// The reader of each CodeRows, and x in its order; see pair_byte_reader.h.

#include "kernels/float_product/pair_field_reader.h"

namespace torchao_cpp {
namespace {

/// Blocks in 64 columns: 1, 2 or 4.
inline int pair_groups(const CodeRows& w) {
  if (!w.is_scaled || w.blocks_per_row == 1 || w.block_columns % kPairColumns == 0) return 1;
  return static_cast<int>(kPairColumns / w.block_columns);
}

template <CodeForm kForm, typename F>
void with_converted(const CodeRows& w, const F& fn) {
  if (!w.is_scaled) return fn.template operator()<ConvertedPairs<kForm, 0>>();
  switch (pair_groups(w)) {
    case 1:
      return fn.template operator()<ConvertedPairs<kForm, 1>>();
    case 2:
      return fn.template operator()<ConvertedPairs<kForm, 2>>();
    default:
      return fn.template operator()<ConvertedPairs<kForm, 4>>();
  }
}

template <int kBits, typename F>
void with_fields(const CodeRows& w, const F& fn) {
  const int groups = pair_groups(w);
  if constexpr (kBits <= 4) {
    if (groups == 1) return fn.template operator()<SmallFieldPairs<kBits, 1>>();
    if (groups == 2) return fn.template operator()<SmallFieldPairs<kBits, 2>>();
    fn.template operator()<SmallFieldPairs<kBits, 4>>();
  } else {
    if (groups == 1) return fn.template operator()<ConvertedFieldPairs<kBits, 1>>();
    if (groups == 2) return fn.template operator()<ConvertedFieldPairs<kBits, 2>>();
    fn.template operator()<ConvertedFieldPairs<kBits, 4>>();
  }
}

/// Calls fn.template operator()<Codes>() with the class that reads `w`, whose values are bfloat16
/// or are rounded to it.
template <typename F>
void with_pair_codes(const CodeRows& w, const F& fn) {
  using Form = CodeForm;
  const bool is_table = pair_groups(w) == 1;
  switch (w.form) {
    case Form::kInt8:
      return with_converted<Form::kInt8>(w, fn);
    case Form::kFloat8E4M3:
      if (is_table) return fn.template operator()<TabledPairs<2>>();
      return with_converted<Form::kFloat8E4M3>(w, fn);
    case Form::kFloat8E5M2:
      if (is_table) return fn.template operator()<TabledPairs<2>>();
      return with_converted<Form::kFloat8E5M2>(w, fn);
    case Form::kFloat6E2M3:
      if (is_table) return fn.template operator()<TabledPairs<1>>();
      return with_converted<Form::kFloat6E2M3>(w, fn);
    case Form::kFloat6E3M2:
      if (is_table) return fn.template operator()<TabledPairs<1>>();
      return with_converted<Form::kFloat6E3M2>(w, fn);
    case Form::kFields:
      break;
    default:
      return fn.template operator()<BFloat16Pairs>();
  }
  switch (w.bits) {
    case 1:
      return with_fields<1>(w, fn);
    case 2:
      return with_fields<2>(w, fn);
    case 3:
      return with_fields<3>(w, fn);
    case 4:
      return with_fields<4>(w, fn);
    case 5:
      return with_fields<5>(w, fn);
    case 6:
      return with_fields<6>(w, fn);
    default:
      return with_fields<7>(w, fn);
  }
}

/// Calls step<J, is whole>(k, k + 64 * J) for every 64 columns of begin .. end, k a multiple of 64
/// * kSteps. begin is a multiple of 64, and of more where for_pair_steps() is called. Everything is
/// inlined: what `step` refers to stays in registers.
template <int kSteps, bool kIsWhole, int kJ = 0, typename Step>
TORCHAO_CPP_ALWAYS_INLINE void pair_steps(std::int64_t k, std::int64_t begin, std::int64_t end,
                                          const Step& step) {
  const std::int64_t at = k + kJ * kPairColumns;
  if constexpr (!kIsWhole) {
    if (at >= end) return;
  }
  if (kIsWhole || at >= begin) step.template operator()<kJ, kIsWhole>(k, at);
  if constexpr (kJ + 1 < kSteps) pair_steps<kSteps, kIsWhole, kJ + 1>(k, begin, end, step);
}
/// Few kSteps: begin is a multiple of 256, and only the last columns of a row are looked at twice.
/// Many would need twice as much code.
template <int kSteps, typename Step>
TORCHAO_CPP_ALWAYS_INLINE void for_pair_steps(std::int64_t begin, std::int64_t end,
                                              const Step& step) {
  constexpr std::int64_t kColumns = kSteps * kPairColumns;
  std::int64_t k = begin & ~(kColumns - 1);
  if constexpr (kSteps < 8) {
    for (; k + kColumns <= end; k += kColumns) pair_steps<kSteps, true>(k, begin, end, step);
    if (k < end) pair_steps<kSteps, false>(k, begin, end, step);
  } else {
    for (; k < end; k += kColumns) pair_steps<kSteps, false>(k, begin, end, step);
  }
}

/// Columns of kRows rows from n on, 64 of each at a time, into sink.step(k, v): v[r] are those of
/// row n + r, 0 from range.end on. Sink::prefetch(p) asks for what lies `ahead` bytes further.
template <typename Codes, int kRows, typename Sink>
TORCHAO_CPP_ALWAYS_INLINE void read_rows(const CodeRows& w,
                                         const typename Codes::Scales (&scales)[kRows],
                                         std::int64_t n, const PairRange& range, std::int64_t ahead,
                                         Sink& sink) {
  typename Codes::Row rows[kRows];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kRows; ++r) rows[r].begin(w, scales[r], n + r, range, ahead);
  // What is stored by a sink may be anything to the compiler, but for copies.
  const std::int64_t end = range.end;
  for_pair_steps<Codes::kSteps>(
      range.begin, end,
      [&]<int kJ, bool kIsWhole>(std::int64_t k, std::int64_t at) __attribute__((always_inline)) {
        Pairs v[kRows][2];
        TORCHAO_CPP_UNROLL
        for (int r = 0; r < kRows; ++r) {
          rows[r].template next<kJ, kIsWhole, Sink>(k, at, v[r][0], v[r][1]);
          if (!kIsWhole && end - at < kPairColumns)
            clear_rest<Codes::kOrder>(at, end, v[r][0], v[r][1]);
        }
        sink.step(at, v);
      });
}

/// The order in which with_pair_codes() gives columns.
inline PairOrder pair_order(const CodeRows& w) {
  PairOrder out = PairOrder::kNatural;
  with_pair_codes(w, [&]<typename Codes>() { out = Codes::kOrder; });
  return out;
}

/// 64 columns of x, zeros from `count` on, in the order of the weight.
template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE void load_x(const std::byte* x, std::int64_t count, PairOrder order,
                                      Pairs& v0, Pairs& v1) {
  const __mmask64 mask = first_columns(count);
  if constexpr (kForm == CodeForm::kBFloat16) {
    v0 = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), x);
    v1 = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask >> 32), x + 64);
  } else {
    static_assert(kForm == CodeForm::kFloat32);
    Floats v[4];
    for (int i = 0; i < 4; ++i)
      v[i] = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> (16 * i)), x + 64 * i);
    v0 = to_pairs(v[0], v[1]);
    v1 = to_pairs(v[2], v[3]);
  }
  reorder(order, v0, v1);
}

/// 16 rows of 64 columns of x (those from `rows` on are 0), transposed: v[c][r] is pair c of row r.
template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE void transpose_x(const std::byte* x, std::int64_t rows,
                                           std::int64_t columns, std::int64_t k, PairOrder order,
                                           Floats (&first)[16], Floats (&second)[16]) {
  constexpr std::int64_t kBytes = code_bytes<kForm>();
  for (int r = 0; r < 16; ++r) {
    Pairs v0 = _mm512_setzero_si512(), v1 = v0;
    if (r < rows) load_x<kForm>(x + (r * columns + k) * kBytes, columns - k, order, v0, v1);
    first[r] = _mm512_castsi512_ps(v0);
    second[r] = _mm512_castsi512_ps(v1);
  }
  Simd::transpose(first);
  Simd::transpose(second);
}

/// Floats that for_pair_rows() needs as scratch, for two rows at a time at most.
inline std::int64_t pair_row_floats(const CodeRows& w) { return 4 * pair_table_bytes(w) / 4; }

/// Calls fn(i, scales) for i = 0, kRows .. below count, scales of rows n0 + i .. as read_rows()
/// takes them; those past the last row are its. Those of the next call are made before, so that
/// tables have left the store buffer by then.
template <typename Codes, int kRows, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_pair_rows(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                             const PairRange& range, float* scratch, const F& fn) {
  auto* tables = reinterpret_cast<std::byte*>(scratch);
  // Scales and zero points as far ahead as the codes.
  const bool has_groups = w.is_scaled && w.blocks_per_row > 1;
  const std::int64_t bytes = w.row_bytes * (range.end - range.begin) / w.columns;
  const std::int64_t rows_ahead = kDotAhead / (bytes > 0 ? bytes : 1) + 1;
  using Scales = typename Codes::Scales;
  const auto prepare = [&](std::int64_t i, Scales(&scales)[kRows]) __attribute__((always_inline)) {
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const std::int64_t row = n0 + smaller(i + r, count - 1);
      if (has_groups) PairScales(w, row + rows_ahead).prefetch(range.first_block, range.last_block);
      scales[r] =
          Codes::prepare(w, row, range, tables + (i / kRows % 2 * kRows + r) * pair_table_bytes(w));
    }
  };
  if (count == 0) return;
  Scales scales[kRows], next[kRows];
  prepare(0, scales);
  for (std::int64_t i = 0; i < count; i += kRows) {
    if (i + kRows < count) prepare(i + kRows, next);
    fn(i, scales);
    for (int r = 0; r < kRows; ++r) scales[r] = next[r];
  }
}

}  // namespace
}  // namespace torchao_cpp
