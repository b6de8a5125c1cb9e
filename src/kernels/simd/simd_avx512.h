// SPDX-License-Identifier: Apache-2.0
#pragma once

// AVX-512 F, BW, DQ and VL. Included by files compiled for it, inside whose unnamed namespace
// everything here lives: nothing of it may be merged by the linker with code for other machines.

#include <immintrin.h>

#include <cstdint>

namespace torchao_cpp {
namespace {

struct Simd {
  static constexpr int kLanes = 16;
  /// Registers that a product may fill with sums.
  static constexpr int kDotSums = 16;
  static constexpr int kGemmRows = 12;

  using Floats = __m512;
  using Words = __m512i;  ///< Lanes of 32 bits.
  using Mask = __mmask16;

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set1(float v) { return _mm512_set1_ps(v); }
  static Mask first(std::int64_t count) { return static_cast<Mask>((1u << count) - 1u); }
  static Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static Floats load_first(const float* p, std::int64_t count) {
    return _mm512_maskz_loadu_ps(first(count), p);
  }
  static void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static void store_first(float* p, Floats v, std::int64_t count) {
    _mm512_mask_storeu_ps(p, first(count), v);
  }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Floats v) { return _mm512_reduce_add_ps(v); }

  static Floats load_float16(const void* p) { return _mm512_cvtph_ps(load32(p)); }
  static Floats load_bfloat16(const void* p) { return widen_bfloat16(load32(p)); }
  static Floats load_int8(const void* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(p)));
  }

  /// Sign, exponent and fraction of a small float code, moved to where float16 has them: the value
  /// times 2^(bias - 15), which the caller takes back by its scale. Subnormal codes become float16's.
  static Floats load_float8_e4m3(const void* p) {
    const __m256i b = _mm256_cvtepi8_epi16(load16(p));
    const __m256i magnitude = _mm256_and_si256(b, _mm256_set1_epi16(0x7F));
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(magnitude, _mm256_set1_epi16(0x7F));
    const __m256i half = _mm256_and_si256(_mm256_slli_epi16(b, 7), _mm256_set1_epi16(-0x4001));
    return _mm512_cvtph_ps(_mm256_mask_mov_epi16(half, nan, _mm256_set1_epi16(0x7E00)));
  }
  static Floats load_float8_e5m2(const void* p) {
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(load16(p)), 8));
  }
  static Floats load_float6(const void* p, int fraction_bits) {
    const __m256i b = _mm256_cvtepu8_epi16(load16(p));
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(b, _mm256_set1_epi16(0x20)), 10);
    const __m256i magnitude = _mm256_and_si256(b, _mm256_set1_epi16(0x1F));
    return _mm512_cvtph_ps(_mm256_or_si256(
        sign, _mm256_sll_epi16(magnitude, _mm_cvtsi32_si128(10 - fraction_bits))));
  }

  /// To nearest, ties to even. NaN must be quiet with few payload bits (0x7FC00000 is).
  static Floats round_bfloat16(Floats v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7FFF));
    return _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(-0x10000)));
  }
  static Floats round_float16(Floats v) {
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  /// NaN as the one that round_bfloat16() takes.
  static Floats quiet(Floats v) {
    return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                              _mm512_castsi512_ps(_mm512_set1_epi32(0x7FC00000)));
  }
  /// kLanes elements, rounded.
  static void store_bfloat16(void* p, Floats v) {
    const __m512i bits = _mm512_srli_epi32(_mm512_castps_si512(round_bfloat16(v)), 16);
    _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(bits));
  }
  static void store_float16(void* p, Floats v) {
    _mm256_storeu_si256(static_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  /// The same bits.
  static Words to_words(Floats v) { return _mm512_castps_si512(v); }
  static Floats from_ints(Words v) { return _mm512_cvtepi32_ps(v); }
  /// a - b * c of int32, wrapping.
  static Words subtract_product(Words a, Words b, std::int32_t c) {
    return _mm512_sub_epi32(a, _mm512_mullo_epi32(b, _mm512_set1_epi32(c)));
  }
  static Words load_words(const void* p) { return _mm512_loadu_si512(p); }
  static Words shift_right(Words v, int count) {
    return _mm512_srli_epi32(v, static_cast<unsigned>(count));
  }
  static Words shift_left(Words v, int count) {
    return _mm512_slli_epi32(v, static_cast<unsigned>(count));
  }
  /// Bits of `a` where `mask` has ones, else bits of `b`.
  static Words select_bits(int mask, Words a, Words b) {
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), a, b, 0xCA);
  }
  static Floats to_floats(Words v, int mask) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(v, _mm512_set1_epi32(mask)));
  }

  /// Up to 32 values to look up by the low bits of a lane.
  struct Table {
    Floats low, high;
  };
  static constexpr int table_vectors(int bits) { return bits == 5 ? 2 : 1; }
  static void set_table(Table& table, int vector, Floats v) {
    (vector == 0 ? table.low : table.high) = v;
  }
  /// Values are repeated, so that bits above `kBits` of a lane do no harm (but for kBits = 5 too).
  template <int kBits>
  static Floats look_up(const Table& table, Words index) {
    if constexpr (kBits <= 4) {
      return _mm512_permutexvar_ps(index, table.low);
    } else {
      return _mm512_permutex2var_ps(table.low, index, table.high);
    }
  }

  static Floats gather(const float* table, const std::uint8_t* indices) {
    return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(load16(indices)), table, 4);
  }

  static void transpose(Floats (&v)[16]) {
    Floats t[16];
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
      t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      v[i] = shuffle<0x44>(t[i], t[i + 2]);
      v[i + 1] = shuffle<0xEE>(t[i], t[i + 2]);
      v[i + 2] = shuffle<0x44>(t[i + 1], t[i + 3]);
      v[i + 3] = shuffle<0xEE>(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88);
      t[i + 4] = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xDD);
      t[i + 8] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88);
      t[i + 12] = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
      v[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xDD);
      v[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
      v[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xDD);
    }
  }

 private:
  static __m128i load16(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static __m256i load32(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static Floats widen_bfloat16(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
  }
  template <int kControl>
  static Floats shuffle(Floats a, Floats b) {
    return _mm512_shuffle_ps(a, b, kControl);
  }
};

}  // namespace
}  // namespace torchao_cpp
