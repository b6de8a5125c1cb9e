// SPDX-License-Identifier: Apache-2.0
#pragma once

// Bytes for AVX2, beside the floats of simd_avx2.h; the same rules hold.

#include "kernels/simd/simd_avx2.h"

namespace torchao_cpp {
namespace {

struct SimdBytes {
  static constexpr int kBytes = 32;
  static constexpr int kLanes = 8;
  static constexpr int kTileRows1 = 6;
  static constexpr int kTileRows2 = 3;
  static constexpr int kTileRows4 = 0;  ///< Too few registers.

  using Bytes = __m256i;
  using Ints = __m256i;  ///< Lanes of int32.

  static Bytes zero() { return _mm256_setzero_si256(); }
  static Bytes load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  /// Bytes from `count` on are 0. count < kBytes.
  static Bytes load_first(const void* p, std::int64_t count) {
    alignas(32) std::uint8_t bytes[kBytes] = {};
    const auto* from = static_cast<const std::uint8_t*>(p);
    for (std::int64_t i = 0; i < count; ++i) bytes[i] = from[i];
    return load(bytes);
  }
  static void store(void* p, Bytes v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
  static Bytes set1(std::int8_t v) { return _mm256_set1_epi8(v); }
  /// Four bytes, repeated.
  static Bytes repeat4(std::int32_t v) { return _mm256_set1_epi32(v); }
  static Bytes exclusive_or(Bytes a, Bytes b) { return _mm256_xor_si256(a, b); }
  static Bytes inclusive_or(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
  static Bytes subtract(Bytes a, Bytes b) { return _mm256_sub_epi8(a, b); }
  /// In units of 16 bits: what crosses a byte is for bits_of() to take away.
  static Bytes shift_right16(Bytes v, int count) { return _mm256_srli_epi16(v, count); }
  static Bytes shift_left16(Bytes v, int count) { return _mm256_slli_epi16(v, count); }
  /// v & mask in each byte.
  static Bytes bits_of(Bytes v, int mask) {
    return _mm256_and_si256(v, _mm256_set1_epi8(static_cast<char>(mask)));
  }
  /// The first half of a vector and the second.
  static Bytes set_halves(std::int8_t a, std::int8_t b) {
    return _mm256_set_m128i(_mm_set1_epi8(b), _mm_set1_epi8(a));
  }
  static Simd::Floats set_halves(float a, float b) {
    return _mm256_set_m128(_mm_set1_ps(b), _mm_set1_ps(a));
  }
  /// The same bits.
  static Simd::Floats as_floats(Bytes v) { return _mm256_castsi256_ps(v); }
  static Simd::Floats to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static std::int32_t sum(Ints v) {
    const __m128i half =
        _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    const __m128i quarter = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32(quarter, 0xB1)));
  }
  /// sum + the products of four neighbouring unsigned bytes of x and signed ones of w, a lane each;
  /// exact up to overflow of the sum, which wraps. In 16 bits: pairs of 8-bit products saturate.
  static Ints dot4(Ints sum, Bytes x, Bytes w) {
    const Bytes even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(0xFF)),
                                         _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
    const Bytes odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(w, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
  }
  /// dot4() of codes of so many bits less a zero point of as many: pairs of products fit 16 bits.
  static constexpr int kMaxCodeBits = 6;
  static Ints dot4_codes(Ints sum, Bytes x, Bytes w) {
    const Bytes pairs = _mm256_maddubs_epi16(x, w);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

}  // namespace
}  // namespace torchao_cpp
