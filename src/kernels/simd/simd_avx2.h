// SPDX-License-Identifier: Apache-2.0
#pragma once

// AVX2, FMA and F16C. See simd_avx512.h.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace torchao_cpp {
namespace {

struct Simd {
  static constexpr int kLanes = 8;
  static constexpr int kDotSums = 8;
  static constexpr int kGemmRows = 6;

  using Floats = __m256;
  using Words = __m256i;

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats set1(float v) { return _mm256_set1_ps(v); }
  static Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static Floats load_first(const float* p, std::int64_t count) {
    return _mm256_maskload_ps(p, first(count));
  }
  static void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static void store_first(float* p, Floats v, std::int64_t count) {
    _mm256_maskstore_ps(p, first(count), v);
  }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static float sum(Floats v) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }

  static Floats load_float16(const void* p) { return _mm256_cvtph_ps(load16(p)); }
  static Floats load_bfloat16(const void* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p)), 16));
  }
  static Floats load_int8(const void* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(p)));
  }

  // As in simd_avx512.h.
  static Floats load_float8_e4m3(const void* p) {
    const __m128i b = _mm_cvtepi8_epi16(load8(p));
    const __m128i magnitude = _mm_and_si128(b, _mm_set1_epi16(0x7F));
    const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F));
    const __m128i half = _mm_and_si128(_mm_slli_epi16(b, 7), _mm_set1_epi16(-0x4001));
    return _mm256_cvtph_ps(_mm_blendv_epi8(half, _mm_set1_epi16(0x7E00), nan));
  }
  static Floats load_float8_e5m2(const void* p) {
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(load8(p)), 8));
  }
  static Floats load_float6(const void* p, int fraction_bits) {
    const __m128i b = _mm_cvtepu8_epi16(load8(p));
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(b, _mm_set1_epi16(0x20)), 10);
    const __m128i magnitude = _mm_and_si128(b, _mm_set1_epi16(0x1F));
    return _mm256_cvtph_ps(
        _mm_or_si128(sign, _mm_sll_epi16(magnitude, _mm_cvtsi32_si128(10 - fraction_bits))));
  }

  static Floats round_bfloat16(Floats v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7FFF));
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32(-0x10000)));
  }
  static Floats round_float16(Floats v) {
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static Floats quiet(Floats v) {
    return _mm256_blendv_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)),
                            _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  }
  static void store_bfloat16(void* p, Floats v) {
    const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(round_bfloat16(v)), 16);
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(bits, bits), 0x08);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm256_castsi256_si128(halves));
  }
  static void store_float16(void* p, Floats v) {
    _mm_storeu_si128(static_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  static Words to_words(Floats v) { return _mm256_castps_si256(v); }
  static Floats from_ints(Words v) { return _mm256_cvtepi32_ps(v); }
  static Words subtract_product(Words a, Words b, std::int32_t c) {
    return _mm256_sub_epi32(a, _mm256_mullo_epi32(b, _mm256_set1_epi32(c)));
  }
  static Words load_words(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
  }
  static Words shift_right(Words v, int count) { return _mm256_srli_epi32(v, count); }
  static Words shift_left(Words v, int count) { return _mm256_slli_epi32(v, count); }
  static Words select_bits(int mask, Words a, Words b) {
    const __m256i m = _mm256_set1_epi32(mask);
    return _mm256_or_si256(_mm256_and_si256(m, a), _mm256_andnot_si256(m, b));
  }
  static Floats to_floats(Words v, int mask) {
    return _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(mask)));
  }

  struct Table {
    Floats part[4];
  };
  static constexpr int table_vectors(int bits) { return bits == 5 ? 4 : bits == 4 ? 2 : 1; }
  static void set_table(Table& table, int vector, Floats v) { table.part[vector] = v; }
  template <int kBits>
  static Floats look_up(const Table& table, Words index) {
    const Floats low = _mm256_permutevar8x32_ps(table.part[0], index);
    if constexpr (kBits <= 3) return low;
    // Bit 3, then bit 4, chooses between halves: as the sign it steers the blend.
    const Floats bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    const Floats first16 =
        _mm256_blendv_ps(low, _mm256_permutevar8x32_ps(table.part[1], index), bit3);
    if constexpr (kBits == 4) return first16;
    const Floats last16 =
        _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.part[2], index),
                         _mm256_permutevar8x32_ps(table.part[3], index), bit3);
    return _mm256_blendv_ps(first16, last16, _mm256_castsi256_ps(_mm256_slli_epi32(index, 27)));
  }

  static Floats gather(const float* table, const std::uint8_t* indices) {
    return _mm256_i32gather_ps(table, _mm256_cvtepu8_epi32(load8(indices)), 4);
  }

  static void transpose(Floats (&v)[8]) {
    Floats t[8];
    for (int i = 0; i < 8; i += 2) {
      t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
      t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      v[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
      v[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
      v[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
      v[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
    }
    for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
      t[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
    }
    for (int i = 0; i < 8; ++i) v[i] = t[i];
  }

 private:
  static __m256i first(std::int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i load16(const void* p) {
    return _mm_loadu_si128(static_cast<const __m128i*>(p));
  }
  static __m128i load8(const void* p) { return _mm_loadl_epi64(static_cast<const __m128i*>(p)); }
};

}  // namespace
}  // namespace torchao_cpp
