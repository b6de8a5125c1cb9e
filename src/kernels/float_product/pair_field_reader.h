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

  /// The codes of columns k + 64 * kJ .. in the low bits of bytes, k a multiple of what
  /// kFieldSteps<kBits> cover; garbage above.
  template <int kJ, typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE Pairs codes(std::int64_t k, std::int64_t ahead) const {
    Pairs out{};
    if constexpr ((kBits & 4) != 0)
      out = _mm512_srli_epi32(load<kJ % 2 == 0, Sink>(plane4_ + (k >> 1) + kJ / 2 * 64, ahead),
                              kJ % 2 * 4);
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

/// Steps of 64 columns after which the fields of all planes lie as before.
template <int kBits>
constexpr int kFieldSteps = (kBits & 1) != 0   ? 8
                            : (kBits & 2) != 0 ? 4
                                               : 2;

/// Calls step<J, is whole>(k, k + 64 * J) for every 64 columns of begin .. end, k a multiple of
/// what kFieldSteps cover; J tells where their fields lie. begin is a multiple of 64, and of more
/// where for_field_steps() is called. Everything is inlined: what `step` refers to stays in
/// registers.
template <int kSteps, bool kIsWhole, int kJ = 0, typename Step>
TORCHAO_CPP_ALWAYS_INLINE void field_steps(std::int64_t k, std::int64_t begin, std::int64_t end,
                                           const Step& step) {
  const std::int64_t at = k + kJ * kPairColumns;
  if constexpr (!kIsWhole) {
    if (at >= end) return;
  }
  if (kIsWhole || at >= begin) step.template operator()<kJ, kIsWhole>(k, at);
  if constexpr (kJ + 1 < kSteps) field_steps<kSteps, kIsWhole, kJ + 1>(k, begin, end, step);
}
/// Even kBits: begin is a multiple of 256, and only the last columns of a row are looked at twice.
/// Odd ones would need twice as much code.
template <int kBits, typename Step>
TORCHAO_CPP_ALWAYS_INLINE void for_field_steps(std::int64_t begin, std::int64_t end,
                                               const Step& step) {
  constexpr int kSteps = kFieldSteps<kBits>;
  constexpr std::int64_t kColumns = kSteps * kPairColumns;
  std::int64_t k = begin & ~(kColumns - 1);
  if constexpr (kSteps < 8) {
    for (; k + kColumns <= end; k += kColumns) field_steps<kSteps, true>(k, begin, end, step);
    if (k < end) field_steps<kSteps, false>(k, begin, end, step);
  } else {
    for (; k < end; k += kColumns) field_steps<kSteps, false>(k, begin, end, step);
  }
}

/// Packed fields of at most 4 bits. Each block has a table of 16 entries, made beforehand for all
/// blocks of the range: [four blocks][lower 16 bytes], [four blocks][upper 16 bytes]. kGroups
/// blocks in 64 columns: 1 (blocks of whole steps), 2 or 4; more than one are looked up in one
/// table of 64 entries.
template <int kBits, int kGroups>
struct SmallFieldPairs {
  static constexpr PairOrder kOrder = PairOrder::kBytes;
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
  [[gnu::noinline]] static Scales prepare(const CodeRows& w, std::int64_t n, const PairRange& range,
                                          std::byte* tables) {
    if (w.zero_kind == CodeZero::kNone) {
      fill(
          w, n, range, tables,
          [](Floats code, Floats scale, Floats)
              __attribute__((always_inline)) { return Simd::mul(code, scale); });
    } else if (w.scale_form == ScaleForm::kBFloat16) {
      // Products of a code or an integral zero point with a scale are exact.
      const bool is_int = w.zero_kind == CodeZero::kInt;
      fill(
          w, n, range, tables,
          [](Floats code, Floats scale, Floats shift)
              __attribute__((always_inline)) { return Simd::fma(code, scale, shift); },
          [&](Floats scale, Floats zero) __attribute__((always_inline)) {
            return is_int ? Simd::sub(Simd::zero(), Simd::mul(zero, scale)) : zero;
          });
    } else if (w.zero_kind == CodeZero::kFloat) {
      fill(
          w, n, range, tables,
          [](Floats code, Floats scale, Floats zero)
              __attribute__((always_inline)) { return Simd::add(Simd::mul(code, scale), zero); });
    } else {
      fill(
          w, n, range, tables,
          [](Floats code, Floats scale, Floats zero)
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
    for_field_steps<kBits>(
        range.begin, end,
        [&]<int kJ, bool kIsWhole>(std::int64_t k, std::int64_t at) __attribute__((always_inline)) {
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
          hand_over<kOrder, kIsWhole>(sink, at, end, v0, v1);
        });
  }

 private:
  struct Unchanged {
    TORCHAO_CPP_ALWAYS_INLINE Floats operator()(Floats, Floats zero) const { return zero; }
  };

  // value(code, scale, shift(scale, zero)) for all codes of all blocks.
  template <typename Value, typename Shift = Unchanged>
  TORCHAO_CPP_ALWAYS_INLINE static void fill(const CodeRows& w, std::int64_t n,
                                             const PairRange& range, std::byte* out,
                                             const Value& value, const Shift& shift = {}) {
    const PairScales row(w, n);
    // Lanes of four codes, for each of four blocks.
    Floats codes[4];
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm512_broadcast_f32x4(_mm_loadu_ps(w.code_values + 4 * i));
    const Pairs lower = _mm512_load_si512(kTableBytes.data());
    const Pairs upper = _mm512_add_epi8(lower, _mm512_set1_epi8(1));
    const std::int64_t last = smaller(range.last_block, range.row_last);
    for (std::int64_t b = first(range); b <= last; b += 4, out += kFourTables) {
      const Floats scale = row.template group_scales<4>(b);
      const Floats moved = shift(scale, row.template group_zeros<4>(b));
      Floats v[4];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < 4; ++i) v[i] = value(codes[i], scale, moved);
      const Pairs v01 = to_pairs(v[0], v[1]);
      const Pairs v23 = to_pairs(v[2], v[3]);
      _mm512_store_si512(out, _mm512_permutex2var_epi8(v01, lower, v23));
      _mm512_store_si512(out + 64, _mm512_permutex2var_epi8(v01, upper, v23));
    }
  }

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

/// Packed fields of 5 to 7 bits, integers: converted. kGroups blocks in 64 columns: 1, 2 or 4.
template <int kBits, int kGroups>
struct ConvertedFieldPairs : StoredScales {
  static constexpr PairOrder kOrder = PairOrder::kQuads;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const PairScales& scales,
                                             std::int64_t n, const PairRange& range,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    const std::int64_t end = range.end, block_steps = range.block_steps();
    const bool is_zero_float = w.zero_kind == CodeZero::kFloat;
    // 2^23 + code is the code behind these bits.
    const Pairs magic = _mm512_set1_epi16(0x4B00);
    const Floats offset = Simd::set1(8388608.0f + w.code_offset);
    std::int64_t block = range.first_block;
    std::int64_t left = 0;
    Floats scale{}, subtrahend{}, addend{};
    const auto next_block = [&](std::int64_t b) __attribute__((always_inline)) {
      scale = scales.template group_scales<kGroups>(b);
      const Floats zero = scales.template group_zeros<kGroups>(b);
      // Integers below 2^24: exact.
      subtrahend = is_zero_float ? offset : Simd::add(offset, zero);
      addend = is_zero_float ? zero : Simd::zero();
    };
    if constexpr (kGroups == 1) {
      left = range.steps_left;
      next_block(block++);
    }
    for_field_steps<kBits>(
        range.begin, end,
        [&]<int kJ, bool kIsWhole>(std::int64_t k, std::int64_t at) __attribute__((always_inline)) {
          if constexpr (kGroups == 1) {
            if (left == 0) {
              next_block(block++);
              left = block_steps;
            }
            --left;
          } else {
            next_block(at / (kPairColumns / kGroups));
          }
          const Pairs codes = _mm512_and_si512(fields.template codes<kJ, Sink>(k, ahead),
                                               _mm512_set1_epi8((1 << kBits) - 1));
          const Pairs low = _mm512_unpacklo_epi8(codes, _mm512_setzero_si512());
          const Pairs high = _mm512_unpackhi_epi8(codes, _mm512_setzero_si512());
          const auto value = [&](Pairs words) __attribute__((always_inline)) {
            const Floats v = Simd::mul(Simd::sub(_mm512_castsi512_ps(words), subtrahend), scale);
            return is_zero_float ? Simd::add(v, addend) : v;
          };
          const Pairs v0 = to_pairs(value(_mm512_unpacklo_epi16(low, magic)),
                                    value(_mm512_unpackhi_epi16(low, magic)));
          const Pairs v1 = to_pairs(value(_mm512_unpacklo_epi16(high, magic)),
                                    value(_mm512_unpackhi_epi16(high, magic)));
          hand_over<kOrder, kIsWhole>(sink, at, end, v0, v1);
        });
  }
};

}  // namespace
}  // namespace torchao_cpp
