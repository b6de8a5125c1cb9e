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

/// Floats that for_pair_rows() needs as scratch.
inline std::int64_t pair_row_floats(const CodeRows& w) { return 2 * pair_table_bytes(w) / 4; }

/// Calls fn(i, scales) for rows row(0) .. row(count - 1) and a range of columns, scales as
/// Codes::read() takes them. Those of the next row are made before a row is read, so that its
/// tables have left the store buffer by then.
template <typename Codes, typename Row, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_pair_rows(const CodeRows& w, std::int64_t count,
                                             const PairRange& range, float* scratch, const Row& row,
                                             const F& fn) {
  auto* tables = reinterpret_cast<std::byte*>(scratch);
  // Scales and zero points as far ahead as the codes.
  const bool has_groups = w.is_scaled && w.blocks_per_row > 1;
  const std::int64_t bytes = w.row_bytes * (range.end - range.begin) / w.columns;
  const std::int64_t rows_ahead = kDotAhead / (bytes > 0 ? bytes : 1) + 1;
  const auto prepare = [&](std::int64_t i) __attribute__((always_inline)) {
    if (has_groups)
      PairScales(w, row(i) + rows_ahead).prefetch(range.first_block, range.last_block);
    return Codes::prepare(w, row(i), range, tables + i % 2 * pair_table_bytes(w));
  };
  if (count == 0) return;
  auto scales = prepare(0);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto next = i + 1 < count ? prepare(i + 1) : scales;
    fn(i, scales);
    scales = next;
  }
}

}  // namespace
}  // namespace torchao_cpp
