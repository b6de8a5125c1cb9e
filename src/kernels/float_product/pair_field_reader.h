// SPDX-License-Identifier: Apache-2.0
#pragma once

// Packed fields as vectors of bfloat16; see pair_byte_reader.h.

#include <array>

#include "kernels/float_product/pair_byte_reader.h"

namespace torchao_cpp {
namespace {

/// Packed fields of bytes (CodeRows::lane_bytes = 1), up to 64 codes at a time.
template <int kBits>
class FieldBytes {
 public:
  TORCHAO_CPP_ALWAYS_INLINE FieldBytes(const CodeRows& w, std::int64_t n) {
    plane4_ = w.codes + n * w.row_bytes;
    plane2_ = plane4_ + ((kBits & 4) != 0 ? bytes(w.columns, 4) : 0);
    plane1_ = plane2_ + ((kBits & 2) != 0 ? bytes(w.columns, 2) : 0);
  }

  /// The codes of columns k + 64 * kJ .. in the low bits of bytes, k a multiple of kFieldColumns;
  /// garbage above.
  template <int kJ, typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE Pairs codes(std::int64_t k, std::int64_t ahead) const {
    Pairs out{};
    if constexpr ((kBits & 4) != 0)
      out = _mm512_srli_epi32(load<kJ % 2 == 0, Sink>(plane4_ + (k >> 1) + kJ / 2 * 64, ahead), kJ % 2 * 4);
    if constexpr ((kBits & 2) != 0) {
      const Pairs two = load<kJ % 4 == 0, Sink>(plane2_ + (k >> 2) + kJ / 4 * 64, ahead);
      constexpr int kAt = kBits & 4;
      const Pairs moved = shifted<kJ % 4 * 2 - kAt>(two);
      out = kAt == 0 ? moved : select<0x0F>(out, moved);
    }
    if constexpr ((kBits & 1) != 0) {
      const Pairs one = load<kJ == 0, Sink>(plane1_ + (k >> 3), ahead);
      constexpr int kAt = kBits & 6;
      const Pairs moved = shifted<kJ - kAt>(one);
      out = kAt == 0 ? moved : select<(1 << kAt) - 1>(out, moved);
    }
    return out;
  }

 private:
  static std::int64_t bytes(std::int64_t columns, int width) {
    return rounded_up(columns, kFieldLanes * 8 / width) * width / 8;
  }
  template <bool kIsFirst, typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static Pairs load(const std::byte* p, std::int64_t ahead) {
    if constexpr (kIsFirst) Sink::prefetch(p + ahead);
    return _mm512_loadu_si512(p);
  }
  template <int kRight>
  TORCHAO_CPP_ALWAYS_INLINE static Pairs shifted(Pairs v) {
    if constexpr (kRight == 0) return v;
    if constexpr (kRight > 0) return _mm512_srli_epi32(v, kRight);
    return _mm512_slli_epi32(v, kRight < 0 ? -kRight : 0);
  }
  // Bits of `a` where the mask has ones, else bits of `b`.
  template <int kMask>
  TORCHAO_CPP_ALWAYS_INLINE static Pairs select(Pairs a, Pairs b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi8(static_cast<char>(kMask)), a, b, 0xCA);
  }

  const std::byte* plane4_;
  const std::byte* plane2_;
  const std::byte* plane1_;
};

/// Calls step<J>(k, k + 64 * J) for every 64 columns of begin .. end, both multiples of 64 (but for the
/// end of the row), k in steps of kFieldColumns; J tells where their fields lie. Everything is inlined:
/// what `step` refers to stays in registers.
template <int kJ = 0, typename Step>
TORCHAO_CPP_ALWAYS_INLINE void field_steps(std::int64_t k, std::int64_t begin, std::int64_t end,
                                           const Step& step) {
  const std::int64_t at = k + kJ * kPairColumns;
  if (at >= end) return;
  if (at >= begin) step.template operator()<kJ>(k, at);
  if constexpr (kJ < 7) field_steps<kJ + 1>(k, begin, end, step);
}
template <typename Step>
TORCHAO_CPP_ALWAYS_INLINE void for_field_steps(std::int64_t begin, std::int64_t end,
                                               const Step& step) {
  for (std::int64_t k = begin / kFieldColumns * kFieldColumns; k < end; k += kFieldColumns)
    field_steps(k, begin, end, step);
}

/// Packed fields that are looked up in tables of one block each: 5 to 7 bits, blocks of whole steps.
template <int kBits>
struct FieldPairs : StoredScales {
  static constexpr bool kIsInterleaved = true;
  static constexpr int kVectors = kBits == 7 ? 2 : 1;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const Scales& scales,
                                             std::int64_t n, const PairRange& range,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    PairTable<kVectors> table;
    std::int64_t block = range.first_block;
    std::int64_t left = range.steps_left;
    fill_table(w, BlockScaling(w, scales, block), table);
    for_field_steps(range.begin, range.end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                    __attribute__((always_inline)) {
      if (left == 0) {
        fill_table(w, BlockScaling(w, scales, ++block), table);
        left = range.block_steps();
      }
      --left;
      Pairs v0, v1;
      table.template look_up<false>(fields.template codes<kJ, Sink>(k, ahead), v0, v1);
      hand_over<true>(sink, at, range.end, v0, v1);
    });
  }
};

/// Packed fields of at most 4 bits. Each block has a table of 16 entries, made beforehand for all blocks
/// of the range: [four blocks][lower 16 bytes], [four blocks][upper 16 bytes]. kGroups blocks in 64
/// columns: 1 (blocks of whole steps), 2 or 4; more than one are looked up in one table of 64 entries.
template <int kBits, int kGroups>
struct SmallFieldPairs {
  static constexpr bool kIsInterleaved = true;
  static constexpr std::int64_t kFourTables = 4 * 32;

  /// Where prepare() has the lower byte of entry i % 16 of block i / 16.
  alignas(64) static constexpr std::array<std::uint8_t, 64> kTableBytes = [] {
    std::array<std::uint8_t, 64> bytes{};
    for (int i = 0; i < 64; ++i) {
      const int block = i / 16, code = i % 16;
      bytes[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(2 * (code / 4 * 16 + block * 4 + code % 4));
    }
    return bytes;
  }();

  /// Tables from block first(range) on.
  using Scales = const std::byte*;
  TORCHAO_CPP_ALWAYS_INLINE static std::int64_t first(const PairRange& range) {
    return range.first_block & ~std::int64_t{3};
  }
  static Scales prepare(const CodeRows& w, std::int64_t n, const PairRange& range,
                        std::byte* tables) {
    const PairScales row(w, n);
    const std::int64_t last = smaller(range.last_block, range.row_last);
    // Lanes of four codes, for each of four blocks.
    Floats codes[4];
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm512_broadcast_f32x4(_mm_loadu_ps(w.code_values + 4 * i));
    const auto fill = [&](auto&& value) __attribute__((always_inline)) {
      const Pairs lower = _mm512_load_si512(kTableBytes.data());
      const Pairs upper = _mm512_add_epi8(lower, _mm512_set1_epi8(1));
      std::byte* out = tables;
      for (std::int64_t b = first(range); b <= last; b += 4, out += kFourTables) {
        const std::int64_t count = last + 1 - b;
        const Floats scale = row.four_scales(b, count);
        const Floats zero = w.zero_kind == CodeZero::kNone ? Simd::zero() : row.four_zeros(b, count);
        Floats v[4];
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < 4; ++i) v[i] = value(codes[i], scale, zero);
        const Pairs v01 = to_pairs(v[0], v[1]);
        const Pairs v23 = to_pairs(v[2], v[3]);
        _mm512_store_si512(out, _mm512_permutex2var_epi8(v01, lower, v23));
        _mm512_store_si512(out + 64, _mm512_permutex2var_epi8(v01, upper, v23));
      }
    };
    if (w.zero_kind == CodeZero::kFloat) {
      fill([](Floats code, Floats scale, Floats zero)
               __attribute__((always_inline)) { return Simd::add(Simd::mul(code, scale), zero); });
    } else {
      fill([](Floats code, Floats scale, Floats zero)
               __attribute__((always_inline)) { return Simd::mul(Simd::sub(code, zero), scale); });
    }
    return tables;
  }

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const Scales& scales,
                                             std::int64_t n, const PairRange& range,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    // What is stored by a sink may be anything to the compiler, but for copies.
    const std::int64_t end = range.end, block_steps = range.block_steps();
    PairTable<1> table;
    std::int64_t block = range.first_block - first(range);
    std::int64_t left = 0;
    if constexpr (kGroups == 1) {
      left = range.steps_left;
      load_table(scales, block++, table);
    }
    // Of column 0, where the tables of all blocks in use are one after the other.
    constexpr int kColumnShift = kGroups == 4 ? 6 : 7;
    const std::byte* const row_tables = scales - (first(range) >> 2) * kFourTables;
    for_field_steps(range.begin, end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                          __attribute__((always_inline)) {
      Pairs index = fields.template codes<kJ, Sink>(k, ahead);
      if constexpr (kGroups == 1) {
        if (left == 0) {
          load_table(scales, block++, table);
          left = block_steps;
        }
        --left;
      } else {
        const std::byte* from = row_tables + (at >> kColumnShift) * kFourTables;
        table.low[0] = _mm512_load_si512(from);
        table.high[0] = _mm512_load_si512(from + 64);
        index = _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), index, group_bits<kJ>(), 0xCA);
      }
      Pairs v0, v1;
      table.template look_up<false>(index, v0, v1);
      hand_over<true>(sink, at, end, v0, v1);
    });
  }

 private:
  // The table of one block, repeated.
  TORCHAO_CPP_ALWAYS_INLINE static void load_table(const std::byte* tables, std::int64_t block,
                                                   PairTable<1>& table) {
    const std::byte* from = tables + block / 4 * kFourTables + block % 4 * 16;
    const auto load = [](const std::byte* p) __attribute__((always_inline)) {
      return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
    };
    table.low[0] = load(from);
    table.high[0] = load(from + 64);
  }

  // 16 * the place of a column's block in the table.
  template <int kJ>
  TORCHAO_CPP_ALWAYS_INLINE static Pairs group_bits() {
    if constexpr (kGroups == 4) {
      return _mm512_setr_epi64(0, 0, 0x1010101010101010, 0x1010101010101010, 0x2020202020202020,
                               0x2020202020202020, 0x3030303030303030, 0x3030303030303030);
    } else {
      constexpr long long kFirst = kJ % 2 * 0x2020202020202020;
      constexpr long long kSecond = kFirst + 0x1010101010101010;
      return _mm512_setr_epi64(kFirst, kFirst, kFirst, kFirst, kSecond, kSecond, kSecond, kSecond);
    }
  }
};

/// Bytes that Codes::prepare() needs.
inline std::int64_t pair_table_bytes(const CodeRows& w) {
  if (w.form != CodeForm::kFields || w.bits > 4) return 0;
  return rounded_up(w.is_scaled ? w.blocks_per_row : 1, 4) * 32;
}

/// Packed fields that are converted: 5 to 7 bits in blocks of less than 64 columns.
template <int kBits>
struct ConvertedFieldPairs : StoredScales {
  static constexpr bool kIsInterleaved = false;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const PairScales& scales,
                                             std::int64_t n, const PairRange& range,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    const Floats offset = Simd::set1(w.code_offset);
    for_field_steps(range.begin, range.end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                    __attribute__((always_inline)) {
      const Pairs index = _mm512_and_si512(fields.template codes<kJ, Sink>(k, ahead),
                                           _mm512_set1_epi8((1 << kBits) - 1));
      alignas(64) std::byte bytes[kPairColumns];
      _mm512_store_si512(bytes, index);
      Floats v[4];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < 4; ++i) {
        const std::int64_t block =
            smaller((at + i * kLanes) / range.block_columns, range.row_last);
        v[i] = BlockScaling(w, scales, block)
                   .apply(Simd::sub(load_codes<CodeForm::kInt8>(bytes + i * kLanes), offset));
      }
      hand_over<false>(sink, at, range.end, to_pairs(v[0], v[1]), to_pairs(v[2], v[3]));
    });
  }
};

}  // namespace
}  // namespace torchao_cpp
