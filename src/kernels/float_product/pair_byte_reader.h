// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of whole-byte codes as vectors of bfloat16, for files compiled for AVX-512 with BF16 and
// VBMI, after simd_avx512.h. 64 columns are two vectors. Everything is in the including file's
// unnamed namespace.
//
// Codes of up to 7 bits and a sign are looked up: a table has the upper and the lower bytes of the
// values, scaled and rounded, and both are put side by side by unpacking, which leaves the columns
// in another order:
//
//   kBytes    vector 0: columns 0..7, 16..23, 32..39, 48..55
//             vector 1: 8..15, 24..31, 40..47, 56..63
//
// Codes that are widened to floats by unpacking twice come in still another:
//
//   kQuads    vector 0: columns 0..3, 16..19, 32..35, 48..51, 4..7, 20..23, 36..39, 52..55
//             vector 1: 8..11, 24..27, 40..43, 56..59, 12..15, 28..31, 44..47, 60..63
//
// Readers say which it is (kOrder), and x is brought into that order too. Subnormal bfloat16 values
// count as 0, as these instructions have it.

#include <cstring>

#include "kernels/float_product/simd_code_reader.h"

namespace torchao_cpp {
namespace {

/// 32 bfloat16: pairs of neighbours that one product adds up.
using Pairs = __m512i;

/// Which columns the two vectors of a step hold; see above.
enum class PairOrder : std::uint8_t { kNatural, kBytes, kQuads };

/// Columns of a step.
constexpr std::int64_t kPairColumns = 64;
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

/// From natural order.
TORCHAO_CPP_ALWAYS_INLINE void reorder(PairOrder order, Pairs& v0, Pairs& v1) {
  if (order == PairOrder::kNatural) return;
  const bool is_bytes = order == PairOrder::kBytes;
  const Pairs first = is_bytes ? _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13)
                               : _mm512_setr_epi64(0, 4, 8, 12, 1, 5, 9, 13);
  const Pairs v = _mm512_permutex2var_epi64(v0, first, v1);
  v1 = _mm512_permutex2var_epi64(v0, _mm512_add_epi64(first, _mm512_set1_epi64(2)), v1);
  v0 = v;
}

/// Columns from `end` on become 0, of 64 from k on.
template <PairOrder kOrder>
TORCHAO_CPP_ALWAYS_INLINE void clear_rest(std::int64_t k, std::int64_t end, Pairs& v0, Pairs& v1) {
  const __mmask64 mask = first_columns(end - k);
  Pairs m0 = _mm512_maskz_set1_epi16(static_cast<__mmask32>(mask), -1);
  Pairs m1 = _mm512_maskz_set1_epi16(static_cast<__mmask32>(mask >> 32), -1);
  reorder(kOrder, m0, m1);
  v0 = _mm512_and_si512(v0, m0);
  v1 = _mm512_and_si512(v1, m1);
}

/// Scales and zero points of one weight row, as they are stored: widened in scratch memory, they
/// would be loaded before their store is through.
class PairScales {
 public:
  PairScales() = default;
  PairScales(const CodeRows& w, std::int64_t n)
      : w_(&w),
        first_(!w.is_scaled ? 0 : (w.block_rows == 1 ? n : n / w.block_rows) * w.blocks_per_row) {}

  TORCHAO_CPP_ALWAYS_INLINE Floats scale(std::int64_t block) const {
    if (!w_->is_scaled) return Simd::set1(1.0f);
    if (w_->scale_form != ScaleForm::kByte) return load(w_->scale, block);
    return Simd::set1(w_->byte_scales[static_cast<const std::uint8_t*>(w_->scale)[first_ + block]]);
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats zero(std::int64_t block) const {
    return w_->zero_kind == CodeZero::kNone ? Simd::zero() : load(w_->zero, block);
  }
  /// Of kGroups blocks from `block` on, each in its 16 / kGroups lanes; past the end of the row the
  /// last.
  template <int kGroups>
  TORCHAO_CPP_ALWAYS_INLINE Floats group_scales(std::int64_t block) const {
    if constexpr (kGroups == 1) return scale(block);
    const std::int64_t last = w_->blocks_per_row - 1;
    if (block + kGroups - 1 <= last && w_->scale_form != ScaleForm::kByte)
      return load_groups<kGroups>(w_->scale, block);
    return each_group<kGroups>([&](int i) __attribute__((always_inline)) {
      return scale(smaller(block + i, last));
    });
  }
  template <int kGroups>
  TORCHAO_CPP_ALWAYS_INLINE Floats group_zeros(std::int64_t block) const {
    if (w_->zero_kind == CodeZero::kNone) return Simd::zero();
    if constexpr (kGroups == 1) return zero(block);
    const std::int64_t last = w_->blocks_per_row - 1;
    if (block + kGroups - 1 <= last) return load_groups<kGroups>(w_->zero, block);
    return each_group<kGroups>([&](int i) __attribute__((always_inline)) {
      return zero(smaller(block + i, last));
    });
  }
  /// Asks for those of blocks first .. last.
  TORCHAO_CPP_ALWAYS_INLINE void prefetch(std::int64_t first, std::int64_t last) const {
    const std::int64_t bytes = w_->scale_form == ScaleForm::kFloat32    ? 4
                               : w_->scale_form == ScaleForm::kBFloat16 ? 2
                                                                        : 1;
    for (const void* values : {w_->scale, w_->zero}) {
      if (values == nullptr) continue;
      const auto* from = static_cast<const std::byte*>(values) + first_ * bytes;
      for (std::int64_t at = first * bytes; at <= last * bytes; at += 64) prefetch_far(from + at);
    }
  }

 private:
  template <int kGroups, typename F>
  TORCHAO_CPP_ALWAYS_INLINE static Floats each_group(const F& value) {
    Floats out = value(0);
    TORCHAO_CPP_UNROLL
    for (int i = 1; i < kGroups; ++i)
      out =
          _mm512_mask_mov_ps(out, static_cast<__mmask16>(0xFFFFu << (i * 16 / kGroups)), value(i));
    return out;
  }
  // In memory; four lanes to a block of four, eight to one of two.
  template <int kGroups>
  TORCHAO_CPP_ALWAYS_INLINE Floats load_groups(const void* values, std::int64_t block) const {
    const __m512i lanes = kGroups == 4
                              ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3)
                              : _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    if (w_->scale_form == ScaleForm::kFloat32) {
      const auto* from = static_cast<const float*>(values) + first_ + block;
      const __m128 some = _mm_maskz_loadu_ps(static_cast<__mmask8>((1 << kGroups) - 1), from);
      return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(some));
    }
    const auto* from = static_cast<const std::int16_t*>(values) + first_ + block;
    const __m128i words = kGroups == 4 ? _mm_loadu_si64(from) : _mm_loadu_si32(from);
    const __m128i wide = _mm_slli_epi32(_mm_cvtepu16_epi32(words), 16);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(wide)));
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats load(const void* values, std::int64_t block) const {
    if (w_->scale_form == ScaleForm::kFloat32)
      return Simd::set1(static_cast<const float*>(values)[first_ + block]);
    const __m512i word =
        _mm512_set1_epi16(static_cast<const std::int16_t*>(values)[first_ + block]);
    return _mm512_castsi512_ps(_mm512_and_si512(word, _mm512_set1_epi32(-0x10000)));
  }

  const CodeRows* w_ = nullptr;
  std::int64_t first_ = 0;
};

/// Scale and zero point of runs of columns.
struct BlockScaling {
  Floats scale, zero;
  bool is_zero_float;

  // Not rounded yet. A zero point of 0 changes nothing in either form.
  TORCHAO_CPP_ALWAYS_INLINE Floats apply(Floats code) const {
    return is_zero_float ? Simd::add(Simd::mul(code, scale), zero)
                         : Simd::mul(Simd::sub(code, zero), scale);
  }
};

/// Those of a row's blocks.
struct RowScaling {
  const CodeRows* w;
  PairScales scales;

  TORCHAO_CPP_ALWAYS_INLINE BlockScaling block(std::int64_t b) const {
    return {scales.scale(b), scales.zero(b), w->zero_kind == CodeZero::kFloat};
  }
};

/// Columns begin .. end of a row and the blocks that they lie in. begin is a multiple of 256.
struct PairRange {
  std::int64_t begin, end;
  std::int64_t block_columns;  ///< Of a block; all of them, in whole steps, where there is one.
  std::int64_t first_block, last_block;
  std::int64_t row_last;    ///< The last block of a row.
  std::int64_t steps_left;  ///< From begin to the end of its block, for blocks of whole steps.

  PairRange(const CodeRows& w, std::int64_t from, std::int64_t to)
      : begin(from),
        end(to),
        block_columns(!w.is_scaled || w.blocks_per_row == 1 ? rounded_up(w.columns, kPairColumns)
                                                            : w.block_columns),
        first_block(begin / block_columns),
        last_block((end - 1) / block_columns),
        row_last(w.is_scaled ? w.blocks_per_row - 1 : 0),
        steps_left(block_columns / kPairColumns - begin % block_columns / kPairColumns) {}

  /// Steps of a block, for blocks of whole steps.
  TORCHAO_CPP_ALWAYS_INLINE std::int64_t block_steps() const {
    return block_columns / kPairColumns;
  }
};

/// Counts steps along blocks of whole steps.
struct BlockSteps {
  std::int64_t block;  ///< Where the steps are.
  std::int64_t left, steps;

  BlockSteps() = default;
  TORCHAO_CPP_ALWAYS_INLINE explicit BlockSteps(const PairRange& range)
      : block(range.first_block), left(range.steps_left), steps(range.block_steps()) {}

  /// Before each step: whether it is the first of another block.
  TORCHAO_CPP_ALWAYS_INLINE bool is_next() {
    const bool next = left == 0;
    if (next) {
      ++block;
      left = steps;
    }
    --left;
    return next;
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
  /// Bits above those of an index are ignored, but with kHasSign: the upper one is the sign then.
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
  static Scales prepare(const CodeRows& w, std::int64_t n, const PairRange&, std::byte*) {
    return {w, n};
  }
};

/// A reader of one row gives 64 columns after the other: Codes::Row, begun with a row and a range
/// of its columns. next<kJ, kIsWhole, Sink>(k, at, v0, v1) reads those from `at` on; kJ counts them
/// from k on, where the fields of all planes lie as in column 0, up to Codes::kSteps. kIsWhole: all
/// 64 are in the range. Sink::prefetch(p) asks for what lies `ahead` bytes further.
struct RowBytes {
  const std::byte* codes;
  std::int64_t end, ahead;
};

/// Plain bfloat16.
struct BFloat16Pairs : StoredScales {
  static constexpr PairOrder kOrder = PairOrder::kNatural;
  static constexpr int kSteps = 1;

  class Row {
   public:
    TORCHAO_CPP_ALWAYS_INLINE void begin(const CodeRows& w, const PairScales&, std::int64_t n,
                                         const PairRange& range, std::int64_t ahead) {
      row_ = {w.codes + n * w.row_bytes, range.end, ahead};
    }
    template <int, bool kIsWhole, typename Sink>
    TORCHAO_CPP_ALWAYS_INLINE void next(std::int64_t, std::int64_t at, Pairs& v0, Pairs& v1) {
      const std::byte* from = row_.codes + at * 2;
      Sink::prefetch(from + row_.ahead);
      Sink::prefetch(from + row_.ahead + 64);
      if constexpr (kIsWhole) {
        v0 = _mm512_loadu_si512(from);
        v1 = _mm512_loadu_si512(from + 64);
      } else {
        const __mmask64 mask = first_columns(row_.end - at);
        v0 = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask), from);
        v1 = _mm512_maskz_loadu_epi16(static_cast<__mmask32>(mask >> 32), from + 64);
      }
    }

   private:
    RowBytes row_;
  };
};

/// 64 codes of one byte.
TORCHAO_CPP_ALWAYS_INLINE Pairs load_bytes(const std::byte* from, std::int64_t count) {
  return count >= kPairColumns ? _mm512_loadu_si512(from)
                               : _mm512_maskz_loadu_epi8(first_columns(count), from);
}

/// Codes of one byte that are converted: (code - zero) * scale. kGroups blocks in 64 columns: 1
/// (blocks of whole steps), 2 or 4; 0 where nothing is scaled.
template <CodeForm kForm, int kGroups>
struct ConvertedPairs : StoredScales {
  static constexpr PairOrder kOrder = PairOrder::kNatural;
  static constexpr int kSteps = 1;

  class Row {
   public:
    TORCHAO_CPP_ALWAYS_INLINE void begin(const CodeRows& w, const PairScales& scales,
                                         std::int64_t n, const PairRange& range,
                                         std::int64_t ahead) {
      row_ = {w.codes + n * w.row_bytes, range.end, ahead};
      scaling_ = {&w, scales};
      row_last_ = range.row_last;
      blocks_ = BlockSteps(range);
      if constexpr (kGroups == 1) block_ = scaling_.block(range.first_block);
    }
    template <int, bool kIsWhole, typename Sink>
    TORCHAO_CPP_ALWAYS_INLINE void next(std::int64_t, std::int64_t at, Pairs& v0, Pairs& v1) {
      if constexpr (kGroups == 1) {
        if (blocks_.is_next()) block_ = scaling_.block(blocks_.block);
      }
      const std::byte* from = row_.codes + at;
      Sink::prefetch(from + row_.ahead);
      alignas(64) std::byte rest[kPairColumns];
      if constexpr (!kIsWhole) {
        _mm512_store_si512(rest, load_bytes(from, row_.end - at));
        from = rest;
      }
      Floats v[4];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < 4; ++i) {
        v[i] = load_codes<kForm>(from + i * kLanes);
        if constexpr (form_factor<kForm>() != 1.0f)
          v[i] = Simd::mul(v[i], Simd::set1(form_factor<kForm>()));
        if constexpr (kGroups == 1) v[i] = scaled(block_, v[i]);
        if constexpr (kGroups > 1) {
          const std::int64_t b = (at + i * kLanes) / (kPairColumns / kGroups);
          v[i] = scaled(scaling_.block(smaller(b, row_last_)), v[i]);
        }
      }
      v0 = to_pairs(v[0], v[1]);
      v1 = to_pairs(v[2], v[3]);
    }

   private:
    // Only integers have zero points here.
    TORCHAO_CPP_ALWAYS_INLINE static Floats scaled(const BlockScaling& scaling, Floats v) {
      return kForm == CodeForm::kInt8 ? scaling.apply(v) : Simd::mul(v, scaling.scale);
    }

    RowBytes row_;
    RowScaling scaling_;
    std::int64_t row_last_;
    BlockSteps blocks_;
    BlockScaling block_;
  };
};

/// Codes of one byte that are looked up: kVectors = 2 and a sign, or 1 and none. Blocks of whole
/// steps.
template <int kVectors>
struct TabledPairs : StoredScales {
  static constexpr PairOrder kOrder = PairOrder::kBytes;
  static constexpr int kSteps = 1;

  class Row {
   public:
    TORCHAO_CPP_ALWAYS_INLINE void begin(const CodeRows& w, const PairScales& scales,
                                         std::int64_t n, const PairRange& range,
                                         std::int64_t ahead) {
      row_ = {w.codes + n * w.row_bytes, range.end, ahead};
      scaling_ = {&w, scales};
      blocks_ = BlockSteps(range);
      set_table(range.first_block);
    }
    template <int, bool, typename Sink>
    TORCHAO_CPP_ALWAYS_INLINE void next(std::int64_t, std::int64_t at, Pairs& v0, Pairs& v1) {
      if (blocks_.is_next()) set_table(blocks_.block);
      const std::byte* from = row_.codes + at;
      Sink::prefetch(from + row_.ahead);
      table_.template look_up<kVectors == 2>(load_bytes(from, row_.end - at), v0, v1);
    }

   private:
    // By way of another table, whose address goes elsewhere: this one stays in registers.
    TORCHAO_CPP_ALWAYS_INLINE void set_table(std::int64_t block) {
      PairTable<kVectors> table;
      fill_table(*scaling_.w, scaling_.block(block), table);
      table_ = table;
    }

    RowBytes row_;
    RowScaling scaling_;
    BlockSteps blocks_;
    PairTable<kVectors> table_;
  };
};

}  // namespace
}  // namespace torchao_cpp
