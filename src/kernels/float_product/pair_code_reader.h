// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of CodeRows as vectors of bfloat16, for files compiled for AVX-512 with BF16 and VBMI, after
// simd_avx512.h. 64 columns are two vectors. Everything is in the including file's unnamed namespace.
//
// Codes of up to 7 bits and a sign are looked up: a table has the upper and the lower bytes of the
// values, scaled and rounded, and both are put side by side by unpacking, which leaves the columns in
// another order:
//
//   vector 0: columns 0..7, 16..23, 32..39, 48..55      vector 1: 8..15, 24..31, 40..47, 56..63
//
// Readers that do so say kIsInterleaved; x is then brought into that order too. Subnormal bfloat16
// values count as 0, as these instructions have it.

#include <array>
#include <cstring>

#include "kernels/float_product/simd_code_reader.h"

namespace torchao_cpp {
namespace {

/// 32 bfloat16: pairs of neighbours that one product adds up.
using Pairs = __m512i;

/// Columns of a step.
constexpr std::int64_t kPairColumns = 64;
/// Columns that a row of packed fields is read in.
constexpr std::int64_t kFieldColumns = 8 * kPairColumns;
constexpr int kFieldLanes = 64;

TORCHAO_CPP_ALWAYS_INLINE Pairs to_pairs(Floats low, Floats high) {
  return reinterpret_cast<Pairs>(_mm512_cvtne2ps_pbh(high, low));
}
TORCHAO_CPP_ALWAYS_INLINE Floats add_products(Floats sum, Pairs a, Pairs b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
TORCHAO_CPP_ALWAYS_INLINE __mmask64 first_columns(std::int64_t count) {
  return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1;
}

/// From natural order to that of unpacked bytes.
TORCHAO_CPP_ALWAYS_INLINE void interleave(Pairs& v0, Pairs& v1) {
  const Pairs first = _mm512_permutex2var_epi64(
      v0, _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), v1);
  v1 = _mm512_permutex2var_epi64(v0, _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15), v1);
  v0 = first;
}

/// Hands 64 columns to the sink: sink.step(k, v0, v1); columns from `end` on are 0.
template <bool kIsInterleaved, typename Sink>
TORCHAO_CPP_ALWAYS_INLINE void hand_over(Sink& sink, std::int64_t k, std::int64_t end, Pairs v0,
                                         Pairs v1) {
  if (end - k < kPairColumns) {
    const __mmask64 mask = first_columns(end - k);
    Pairs m0 = _mm512_maskz_set1_epi16(static_cast<__mmask32>(mask), -1);
    Pairs m1 = _mm512_maskz_set1_epi16(static_cast<__mmask32>(mask >> 32), -1);
    if constexpr (kIsInterleaved) interleave(m0, m1);
    v0 = _mm512_and_si512(v0, m0);
    v1 = _mm512_and_si512(v1, m1);
  }
  sink.step(k, v0, v1);
}

/// Scales and zero points of one weight row, as they are stored: widened in scratch memory, they would be
/// loaded before their store is through.
class PairScales {
 public:
  PairScales(const CodeRows& w, std::int64_t n)
      : w_(&w), first_(w.is_scaled ? n / w.block_rows * w.blocks_per_row : 0) {}

  TORCHAO_CPP_ALWAYS_INLINE Floats scale(std::int64_t block) const {
    if (!w_->is_scaled) return Simd::set1(1.0f);
    if (w_->scale_form != ScaleForm::kByte) return load(w_->scale, block);
    return Simd::set1(w_->byte_scales[static_cast<const std::uint8_t*>(w_->scale)[first_ + block]]);
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats zero(std::int64_t block) const {
    return w_->zero_kind == CodeZero::kNone ? Simd::zero() : load(w_->zero, block);
  }
  /// Of four blocks, each in four lanes; 0 for those from `count` on.
  TORCHAO_CPP_ALWAYS_INLINE Floats four_scales(std::int64_t block, std::int64_t count) const {
    if (!w_->is_scaled) return Simd::set1(1.0f);
    if (w_->scale_form != ScaleForm::kByte) return load_four(w_->scale, block, count);
    const auto* bytes = static_cast<const std::uint8_t*>(w_->scale) + first_ + block;
    const auto at = [&](int i) { return i < count ? w_->byte_scales[bytes[i]] : 0.0f; };
    return spread(_mm_setr_ps(at(0), at(1), at(2), at(3)));
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats four_zeros(std::int64_t block, std::int64_t count) const {
    return load_four(w_->zero, block, count);
  }

 private:
  TORCHAO_CPP_ALWAYS_INLINE static Floats spread(__m128 v) {
    return _mm512_permutexvar_ps(
        _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
        _mm512_castps128_ps512(v));
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats load_four(const void* values, std::int64_t block,
                                             std::int64_t count) const {
    const auto mask = static_cast<__mmask8>((1u << smaller(count, 4)) - 1u);
    if (w_->scale_form == ScaleForm::kFloat32)
      return spread(_mm_maskz_loadu_ps(mask, static_cast<const float*>(values) + first_ + block));
    const __m512i words = _mm512_castsi128_si512(_mm_maskz_loadu_epi16(
        mask, static_cast<const std::int16_t*>(values) + first_ + block));
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(
        0xAAAAAAAA,
        _mm512_setr_epi64(0, 0, 0x0001000100010001, 0x0001000100010001, 0x0002000200020002,
                          0x0002000200020002, 0x0003000300030003, 0x0003000300030003),
        words));
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats load(const void* values, std::int64_t block) const {
    if (w_->scale_form == ScaleForm::kFloat32)
      return Simd::set1(static_cast<const float*>(values)[first_ + block]);
    const __m512i word =
        _mm512_set1_epi16(static_cast<const std::int16_t*>(values)[first_ + block]);
    return _mm512_castsi512_ps(_mm512_and_si512(word, _mm512_set1_epi32(-0x10000)));
  }

  const CodeRows* w_;
  std::int64_t first_;
};

/// Scale and zero point of runs of columns.
struct BlockScaling {
  Floats scale, zero;
  bool is_zero_float;

  TORCHAO_CPP_ALWAYS_INLINE BlockScaling(const CodeRows& w, const PairScales& scales,
                                         std::int64_t block)
      : scale(scales.scale(block)),
        zero(scales.zero(block)),
        is_zero_float(w.zero_kind == CodeZero::kFloat) {}

  // Not rounded yet. A zero point of 0 changes nothing in either form.
  TORCHAO_CPP_ALWAYS_INLINE Floats apply(Floats code) const {
    return is_zero_float ? Simd::add(Simd::mul(code, scale), zero)
                         : Simd::mul(Simd::sub(code, zero), scale);
  }
};

/// The blocks of one row.
struct RowBlocks {
  std::int64_t columns;  ///< Of a block; all of them, in whole steps, where there is one.
  std::int64_t last;

  TORCHAO_CPP_ALWAYS_INLINE explicit RowBlocks(const CodeRows& w)
      : columns(!w.is_scaled || w.blocks_per_row == 1 ? rounded_up(w.columns, kPairColumns)
                                                      : w.block_columns),
        last(w.is_scaled ? w.blocks_per_row - 1 : 0) {}

  TORCHAO_CPP_ALWAYS_INLINE std::int64_t block(std::int64_t k) const { return k / columns; }
  /// For kGroups > 1 blocks in 64 columns; past the end of the row the last one.
  template <int kGroups>
  TORCHAO_CPP_ALWAYS_INLINE std::int64_t small_block(std::int64_t k) const {
    return smaller(k / (kPairColumns / kGroups), last);
  }
  /// Steps from k to the end of its block, for blocks of whole steps.
  TORCHAO_CPP_ALWAYS_INLINE std::int64_t steps_left(std::int64_t k) const {
    return columns / kPairColumns - k % columns / kPairColumns;
  }
};

/// bfloat16 for indices of 6 bits (kVectors = 1) or 7.
template <int kVectors>
struct PairTable {
  Pairs low[kVectors], high[kVectors];  ///< Bytes.

  /// Vector v of the entries.
  TORCHAO_CPP_ALWAYS_INLINE void set(int v, Pairs first, Pairs second) {
    low[v] = _mm512_permutex2var_epi8(first, even_bytes(), second);
    high[v] = _mm512_permutex2var_epi8(first, odd_bytes(), second);
  }
  /// Bits above those of an index are ignored. `signs`: their upper bits are added as signs.
  template <bool kHasSign>
  TORCHAO_CPP_ALWAYS_INLINE void look_up(Pairs index, Pairs& v0, Pairs& v1) const {
    Pairs lows, highs;
    if constexpr (kVectors == 1) {
      lows = _mm512_permutexvar_epi8(index, low[0]);
      highs = _mm512_permutexvar_epi8(index, high[0]);
    } else {
      lows = _mm512_permutex2var_epi8(low[0], index, low[1]);
      highs = _mm512_permutex2var_epi8(high[0], index, high[1]);
    }
    if constexpr (kHasSign)
      highs = _mm512_ternarylogic_epi32(_mm512_set1_epi8(-128), index, highs, 0xEA);
    v0 = _mm512_unpacklo_epi8(lows, highs);
    v1 = _mm512_unpackhi_epi8(lows, highs);
  }

 private:
  // 2 i and 2 i + 1 for byte i.
  TORCHAO_CPP_ALWAYS_INLINE static Pairs even_bytes() {
    return _mm512_add_epi8(counted_bytes(), counted_bytes());
  }
  TORCHAO_CPP_ALWAYS_INLINE static Pairs odd_bytes() {
    return _mm512_add_epi8(even_bytes(), _mm512_set1_epi8(1));
  }
  TORCHAO_CPP_ALWAYS_INLINE static Pairs counted_bytes() {
    alignas(64) static constexpr std::uint8_t kCount[64] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
        44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    return _mm512_load_si512(kCount);
  }
};

/// Entries 0 .. 64 * kVectors - 1 of w.code_values, scaled.
template <int kVectors>
[[gnu::noinline]] void fill_table(const CodeRows& w, const BlockScaling& scaling,
                                  PairTable<kVectors>& table) {
  for (int v = 0; v < kVectors; ++v) {
    const float* values = w.code_values + v * 64;
    const auto entries = [&](int i) __attribute__((always_inline)) {
      return scaling.apply(Simd::load(values + i * kLanes));
    };
    table.set(v, to_pairs(entries(0), entries(1)), to_pairs(entries(2), entries(3)));
  }
}

/// Readers that take scales as they are stored.
struct StoredScales {
  using Scales = PairScales;
  static Scales prepare(const CodeRows& w, std::int64_t n, std::int64_t, std::int64_t,
                        std::byte*) {
    return {w, n};
  }
};

/// Plain bfloat16.
struct BFloat16Pairs : StoredScales {
  static constexpr bool kIsInterleaved = false;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const PairScales&, std::int64_t n,
                                             std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const std::byte* row = w.codes + n * w.row_bytes;
    std::int64_t k = begin;
    for (; k + kPairColumns <= end; k += kPairColumns) {
      const std::byte* from = row + k * 2;
      Simd::prefetch(from + ahead);
      Simd::prefetch(from + ahead + 64);
      sink.step(k, _mm512_loadu_si512(from), _mm512_loadu_si512(from + 64));
    }
    if (k == end) return;
    const __mmask64 mask = first_columns(end - k);
    const std::byte* from = row + k * 2;
    sink.step(k, _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), from),
              _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask >> 32), from + 64));
  }
};

/// 64 codes of one byte.
TORCHAO_CPP_ALWAYS_INLINE Pairs load_bytes(const std::byte* from, std::int64_t count) {
  return count >= kPairColumns ? _mm512_loadu_si512(from)
                               : _mm512_maskz_loadu_epi8(first_columns(count), from);
}

/// Codes of one byte that are converted: (code - zero) * scale. kGroups blocks in 64 columns: 1 (blocks
/// of whole steps), 2 or 4; 0 where nothing is scaled.
template <CodeForm kForm, int kGroups>
struct ConvertedPairs : StoredScales {
  static constexpr bool kIsInterleaved = false;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const PairScales& scales,
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const std::byte* row = w.codes + n * w.row_bytes;
    const RowBlocks blocks(w);
    for (std::int64_t k = begin; k < end;) {
      const BlockScaling scaling(w, scales, kGroups == 1 ? blocks.block(k) : 0);
      const std::int64_t stop =
          kGroups == 1 ? smaller(end, k + blocks.steps_left(k) * kPairColumns) : end;
      for (; k < stop; k += kPairColumns) {
        Simd::prefetch(row + k + ahead);
        const std::byte* from = row + k;
        alignas(64) std::byte rest[kPairColumns];
        if (end - k < kPairColumns) {
          _mm512_store_si512(rest, load_bytes(from, end - k));
          from = rest;
        }
        Floats v[4];
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < 4; ++i) {
          v[i] = load_codes<kForm>(from + i * kLanes);
          if constexpr (form_factor<kForm>() != 1.0f)
            v[i] = Simd::mul(v[i], Simd::set1(form_factor<kForm>()));
          if constexpr (kGroups == 1) v[i] = scaled(scaling, v[i]);
          if constexpr (kGroups > 1) {
            const std::int64_t block = blocks.template small_block<kGroups>(k + i * kLanes);
            v[i] = scaled(BlockScaling(w, scales, block), v[i]);
          }
        }
        hand_over<false>(sink, k, end, to_pairs(v[0], v[1]), to_pairs(v[2], v[3]));
      }
    }
  }

 private:
  // Only integers have zero points here.
  TORCHAO_CPP_ALWAYS_INLINE static Floats scaled(const BlockScaling& scaling, Floats v) {
    return kForm == CodeForm::kInt8 ? scaling.apply(v) : Simd::mul(v, scaling.scale);
  }
};

/// Codes of one byte that are looked up: kVectors = 2 and a sign, or 1 and none. Blocks of whole steps.
template <int kVectors>
struct TabledPairs : StoredScales {
  static constexpr bool kIsInterleaved = true;

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const PairScales& scales,
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const std::byte* row = w.codes + n * w.row_bytes;
    const RowBlocks blocks(w);
    for (std::int64_t k = begin; k < end;) {
      PairTable<kVectors> table;
      fill_table(w, BlockScaling(w, scales, blocks.block(k)), table);
      const std::int64_t stop = smaller(end, k + blocks.steps_left(k) * kPairColumns);
      for (; k < stop; k += kPairColumns) {
        Simd::prefetch(row + k + ahead);
        Pairs v0, v1;
        table.template look_up<kVectors == 2>(load_bytes(row + k, end - k), v0, v1);
        hand_over<true>(sink, k, end, v0, v1);
      }
    }
  }
};

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
  template <int kJ>
  TORCHAO_CPP_ALWAYS_INLINE Pairs codes(std::int64_t k, std::int64_t ahead) const {
    Pairs out{};
    if constexpr ((kBits & 4) != 0)
      out = _mm512_srli_epi32(load<kJ % 2 == 0>(plane4_ + k / 2 + kJ / 2 * 64, ahead), kJ % 2 * 4);
    if constexpr ((kBits & 2) != 0) {
      const Pairs two = load<kJ % 4 == 0>(plane2_ + k / 4 + kJ / 4 * 64, ahead);
      constexpr int kAt = kBits & 4;
      const Pairs moved = shifted<kJ % 4 * 2 - kAt>(two);
      out = kAt == 0 ? moved : select<0x0F>(out, moved);
    }
    if constexpr ((kBits & 1) != 0) {
      const Pairs one = load<kJ == 0>(plane1_ + k / 8, ahead);
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
  template <bool kIsFirst>
  TORCHAO_CPP_ALWAYS_INLINE static Pairs load(const std::byte* p, std::int64_t ahead) {
    if constexpr (kIsFirst) Simd::prefetch(p + ahead);
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
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    const RowBlocks blocks(w);
    PairTable<kVectors> table;
    std::int64_t block = blocks.block(begin);
    std::int64_t left = blocks.steps_left(begin);
    fill_table(w, BlockScaling(w, scales, block), table);
    for_field_steps(begin, end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                    __attribute__((always_inline)) {
      if (left == 0) {
        fill_table(w, BlockScaling(w, scales, ++block), table);
        left = blocks.columns / kPairColumns;
      }
      --left;
      Pairs v0, v1;
      table.template look_up<false>(fields.template codes<kJ>(k, ahead), v0, v1);
      hand_over<true>(sink, at, end, v0, v1);
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

  struct Scales {
    const std::byte* tables;  ///< From block `first`, a multiple of 4.
    std::int64_t first;
  };
  static Scales prepare(const CodeRows& w, std::int64_t n, std::int64_t begin, std::int64_t end,
                        std::byte* tables) {
    const PairScales row(w, n);
    const RowBlocks blocks(w);
    const std::int64_t first = blocks.block(begin) / 4 * 4;
    const std::int64_t last = smaller(blocks.block(end - 1), blocks.last);
    // Lanes of four codes, for each of four blocks.
    Floats codes[4];
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < 4; ++i)
      codes[i] = _mm512_broadcast_f32x4(_mm_loadu_ps(w.code_values + 4 * i));
    const auto fill = [&](auto&& value) __attribute__((always_inline)) {
      const Pairs lower = _mm512_load_si512(kTableBytes.data());
      const Pairs upper = _mm512_add_epi8(lower, _mm512_set1_epi8(1));
      std::byte* out = tables;
      for (std::int64_t b = first; b <= last; b += 4, out += kFourTables) {
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
    return {tables, first};
  }

  template <typename Sink>
  TORCHAO_CPP_ALWAYS_INLINE static void read(const CodeRows& w, const Scales& scales,
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    const RowBlocks blocks(w);
    PairTable<1> table;
    std::int64_t block = blocks.block(begin) - scales.first;
    std::int64_t left = 0;
    if constexpr (kGroups == 1) {
      left = blocks.steps_left(begin);
      load_table(scales.tables, block++, table);
    }
    for_field_steps(begin, end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                    __attribute__((always_inline)) {
      Pairs index = fields.template codes<kJ>(k, ahead);
      if constexpr (kGroups == 1) {
        if (left == 0) {
          load_table(scales.tables, block++, table);
          left = blocks.columns / kPairColumns;
        }
        --left;
      } else {
        const std::int64_t four = at / (4 * (kPairColumns / kGroups)) - scales.first / 4;
        const std::byte* from = scales.tables + four * kFourTables;
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
                                             std::int64_t n, std::int64_t begin, std::int64_t end,
                                             std::int64_t ahead, Sink& sink) {
    const FieldBytes<kBits> fields(w, n);
    const RowBlocks blocks(w);
    const Floats offset = Simd::set1(w.code_offset);
    for_field_steps(begin, end, [&]<int kJ>(std::int64_t k, std::int64_t at)
                                    __attribute__((always_inline)) {
      const Pairs index = _mm512_and_si512(fields.template codes<kJ>(k, ahead),
                                           _mm512_set1_epi8((1 << kBits) - 1));
      alignas(64) std::byte bytes[kPairColumns];
      _mm512_store_si512(bytes, index);
      Floats v[4];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < 4; ++i) {
        const std::int64_t block = smaller(blocks.block(at + i * kLanes), blocks.last);
        v[i] = BlockScaling(w, scales, block)
                   .apply(Simd::sub(load_codes<CodeForm::kInt8>(bytes + i * kLanes), offset));
      }
      hand_over<false>(sink, at, end, to_pairs(v[0], v[1]), to_pairs(v[2], v[3]));
    });
  }
};

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
    if (groups == 1) return fn.template operator()<FieldPairs<kBits>>();
    fn.template operator()<ConvertedFieldPairs<kBits>>();
  }
}

/// Calls fn.template operator()<Codes>() with the class that reads `w`, whose values are bfloat16 or
/// are rounded to it.
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

/// Whether with_pair_codes() gives columns in the order of unpacked bytes.
inline bool is_interleaved(const CodeRows& w) {
  bool out = false;
  with_pair_codes(w, [&]<typename Codes>() { out = Codes::kIsInterleaved; });
  return out;
}

/// 64 columns of x, zeros from `count` on, in the order of the weight.
template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE void load_x(const std::byte* x, std::int64_t count, bool interleaved,
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
  if (interleaved) interleave(v0, v1);
}

/// 16 rows of 64 columns of x (those from `rows` on are 0), transposed: v[c][r] is pair c of row r.
template <CodeForm kForm>
TORCHAO_CPP_ALWAYS_INLINE void transpose_x(const std::byte* x, std::int64_t rows,
                                           std::int64_t columns, std::int64_t k, bool interleaved,
                                           Floats (&first)[16], Floats (&second)[16]) {
  constexpr std::int64_t kBytes = code_bytes<kForm>();
  for (int r = 0; r < 16; ++r) {
    Pairs v0 = _mm512_setzero_si512(), v1 = v0;
    if (r < rows) load_x<kForm>(x + (r * columns + k) * kBytes, columns - k, interleaved, v0, v1);
    first[r] = _mm512_castsi512_ps(v0);
    second[r] = _mm512_castsi512_ps(v1);
  }
  Simd::transpose(first);
  Simd::transpose(second);
}

/// Floats that for_pair_rows() needs as scratch.
inline std::int64_t pair_row_floats(const CodeRows& w) { return 2 * pair_table_bytes(w) / 4; }

/// Calls fn(i, scales) for rows row(0) .. row(count - 1), columns begin .. end, scales as Codes::read()
/// takes them. Those of the next row are made before a row is read, so that its tables have left the
/// store buffer by then.
template <typename Codes, typename Row, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_pair_rows(const CodeRows& w, std::int64_t count,
                                             std::int64_t begin, std::int64_t end, float* scratch,
                                             const Row& row, const F& fn) {
  auto* tables = reinterpret_cast<std::byte*>(scratch);
  const auto prepare = [&](std::int64_t i) {
    return Codes::prepare(w, row(i), begin, end, tables + i % 2 * pair_table_bytes(w));
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
