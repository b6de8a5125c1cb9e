// SPDX-License-Identifier: Apache-2.0
#pragma once

// Bytes for AVX-512 VNNI, beside the floats of simd_avx512.h; the same rules hold.

#include "kernels/simd/simd_avx512.h"

namespace torchao_cpp {
namespace {

struct SimdBytes {
  static constexpr int kBytes = 64;
  static constexpr int kLanes = 16;
  /// Rows of a tile of one, two and four vectors of sums.
  static constexpr int kTileRows1 = 12;
  static constexpr int kTileRows2 = 12;
  static constexpr int kTileRows4 = 6;

  using Bytes = __m512i;
  using Ints = __m512i;  ///< Lanes of int32.

  static Bytes zero() { return _mm512_setzero_si512(); }
  static Bytes load(const void* p) { return _mm512_loadu_si512(p); }
  /// Bytes from `count` on are 0. count < kBytes.
  static Bytes load_first(const void* p, std::int64_t count) {
    return _mm512_maskz_loadu_epi8((std::uint64_t{1} << count) - 1, p);
  }
  static void store(void* p, Bytes v) { _mm512_storeu_si512(p, v); }
  static Bytes set1(std::int8_t v) { return _mm512_set1_epi8(v); }
  /// Four bytes, repeated.
  static Bytes repeat4(std::int32_t v) { return _mm512_set1_epi32(v); }
  static Bytes exclusive_or(Bytes a, Bytes b) { return _mm512_xor_si512(a, b); }
  static Bytes inclusive_or(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
  static Bytes subtract(Bytes a, Bytes b) { return _mm512_sub_epi8(a, b); }
  /// In units of 16 bits: what crosses a byte is for bits_of() to take away.
  static Bytes shift_right16(Bytes v, int count) {
    return _mm512_srli_epi16(v, static_cast<unsigned>(count));
  }
  static Bytes shift_left16(Bytes v, int count) {
    return _mm512_slli_epi16(v, static_cast<unsigned>(count));
  }
  /// v & mask in each byte.
  static Bytes bits_of(Bytes v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8(static_cast<char>(mask)));
  }
  /// The first half of a vector and the second.
  static Bytes set_halves(std::int8_t a, std::int8_t b) {
    return _mm512_inserti64x4(_mm512_set1_epi8(a), _mm256_set1_epi8(b), 1);
  }
  static Simd::Floats set_halves(float a, float b) {
    return _mm512_mask_mov_ps(_mm512_set1_ps(a), 0xFF00, _mm512_set1_ps(b));
  }
  /// The same bits.
  static Simd::Floats as_floats(Bytes v) { return _mm512_castsi512_ps(v); }
  static Simd::Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static std::int32_t sum(Ints v) { return _mm512_reduce_add_epi32(v); }
  /// sum + the products of four neighbouring unsigned bytes of x and signed ones of w, a lane each;
  /// exact up to overflow of the sum, which wraps.
  static Ints dot4(Ints sum, Bytes x, Bytes w) {
    // The intrinsic makes GCC 12 copy sums from register to register where two sets of them are alive.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "vm"(w));
    return sum;
  }
  /// dot4() of codes of so many bits less a zero point of as many.
  static constexpr int kMaxCodeBits = 7;
  static Ints dot4_codes(Ints sum, Bytes x, Bytes w) { return dot4(sum, x, w); }
};

}  // namespace
}  // namespace torchao_cpp
