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
  FieldBytes() = default;
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

/// Packed fields of at most 4 bits. Each block has a table of 16 entries, made beforehand for all
/// blocks of the range: [four blocks][lower 16 bytes], [four blocks][upper 16 bytes]. kGroups
/// blocks in 64 columns: 1 (blocks of whole steps), 2 or 4; more than one are looked up in one
/// table of 64 entries.
template <int kBits, int kGroups>
struct SmallFieldPairs {
  static constexpr PairOrder kOrder = PairOrder::kBytes;
  static constexpr int kSteps = kFieldSteps<kBits>;
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

  class Row {
   public:
    TORCHAO_CPP_ALWAYS_INLINE void begin(const CodeRows& w, const Scales& tables, std::int64_t n,
                                         const PairRange& range, std::int64_t ahead) {
      fields_ = FieldBytes<kBits>(w, n);
      ahead_ = ahead;
      tables_ = tables - (first(range) >> 2) * kFourTables;
      blocks_ = BlockSteps(range);
      if constexpr (kGroups == 1) load_table(tables_, blocks_.block, table_);
    }
    template <int kJ, bool, typename Sink>
    TORCHAO_CPP_ALWAYS_INLINE void next(std::int64_t k, std::int64_t at, Pairs& v0, Pairs& v1) {
      Pairs index = fields_.template codes<kJ, Sink>(k, ahead_);
      if constexpr (kGroups == 1) {
        if (blocks_.is_next()) load_table(tables_, blocks_.block, table_);
      } else {
        constexpr int kColumnShift = kGroups == 4 ? 6 : 7;
        const std::byte* from = tables_ + (at >> kColumnShift) * kFourTables;
        table_.low[0] = _mm512_load_si512(from);
        table_.high[0] = _mm512_load_si512(from + 64);
        index = _mm512_ternarylogic_epi32(_mm512_set1_epi8(15), index, group_bits<kJ>(), 0xCA);
      }
      table_.template look_up<false>(index, v0, v1);
    }

   private:
    FieldBytes<kBits> fields_;
    std::int64_t ahead_;
    const std::byte*
        tables_;  ///< Of block 0, where the tables of all blocks lie one after the other.
    BlockSteps blocks_;
    PairTable<1> table_;
  };

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
  static constexpr int kSteps = kFieldSteps<kBits>;

  class Row {
   public:
    TORCHAO_CPP_ALWAYS_INLINE void begin(const CodeRows& w, const PairScales& scales,
                                         std::int64_t n, const PairRange& range,
                                         std::int64_t ahead) {
      fields_ = FieldBytes<kBits>(w, n);
      ahead_ = ahead;
      scales_ = scales;
      is_zero_float_ = w.zero_kind == CodeZero::kFloat;
      offset_ = Simd::set1(8388608.0f + w.code_offset);
      blocks_ = BlockSteps(range);
      if constexpr (kGroups == 1) set_block(blocks_.block);
    }
    template <int kJ, bool, typename Sink>
    TORCHAO_CPP_ALWAYS_INLINE void next(std::int64_t k, std::int64_t at, Pairs& v0, Pairs& v1) {
      if constexpr (kGroups == 1) {
        if (blocks_.is_next()) set_block(blocks_.block);
      } else {
        set_block(at / (kPairColumns / kGroups));
      }
      // 2^23 + code is the code behind these bits.
      const Pairs magic = _mm512_set1_epi16(0x4B00);
      const Pairs codes = _mm512_and_si512(fields_.template codes<kJ, Sink>(k, ahead_),
                                           _mm512_set1_epi8((1 << kBits) - 1));
      const Pairs low = _mm512_unpacklo_epi8(codes, _mm512_setzero_si512());
      const Pairs high = _mm512_unpackhi_epi8(codes, _mm512_setzero_si512());
      v0 = to_pairs(value(_mm512_unpacklo_epi16(low, magic)),
                    value(_mm512_unpackhi_epi16(low, magic)));
      v1 = to_pairs(value(_mm512_unpacklo_epi16(high, magic)),
                    value(_mm512_unpackhi_epi16(high, magic)));
    }

   private:
    TORCHAO_CPP_ALWAYS_INLINE void set_block(std::int64_t b) {
      scale_ = scales_.template group_scales<kGroups>(b);
      const Floats zero = scales_.template group_zeros<kGroups>(b);
      // Integers below 2^24: exact.
      subtrahend_ = is_zero_float_ ? offset_ : Simd::add(offset_, zero);
      addend_ = is_zero_float_ ? zero : Simd::zero();
    }
    TORCHAO_CPP_ALWAYS_INLINE Floats value(Pairs words) const {
      const Floats v = Simd::mul(Simd::sub(_mm512_castsi512_ps(words), subtrahend_), scale_);
      return is_zero_float_ ? Simd::add(v, addend_) : v;
    }

    FieldBytes<kBits> fields_;
    std::int64_t ahead_;
    PairScales scales_;
    bool is_zero_float_;
    BlockSteps blocks_;
    Floats offset_, scale_, subtrahend_, addend_;
  };
};

}  // namespace
}  // namespace torchao_cpp
