// SPDX-License-Identifier: Apache-2.0
#pragma once

// Vectors of kLanes floats, in the compilers' own vector types: they become the instruction set
// that the including file is compiled for. That file defines kLanes first. Everything lives in its
// unnamed namespace: nothing may be merged by the linker with code for other machines.

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace torchao_cpp {
namespace {

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef std::int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef std::uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef std::uint16_t Halves __attribute__((vector_size(2 * kLanes)));

inline Floats set1(float v) { return v - Floats{}; }
inline Words bits_of(Floats v) { return reinterpret_cast<Words>(v); }
inline Floats floats_of(Words v) { return reinterpret_cast<Floats>(v); }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
inline Floats magnitude(Floats v) { return floats_of(bits_of(v) & 0x7FFFFFFFu); }

template <typename T>
inline T load_as(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

/// fold of all lanes, pairwise, from far lanes to near ones: fold(near, far).
template <typename Fold>
inline float fold_lanes(Floats v, const Fold& fold) {
#if defined(__AVX512F__)
  if constexpr (sizeof(v) == 64) {
    // In registers; the loop below goes through memory.
    const auto wide = reinterpret_cast<__m512>(v);
    const __m256 eight = fold(_mm512_castps512_ps256(wide), _mm512_extractf32x8_ps(wide, 1));
    const __m128 four = fold(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = fold(four, _mm_movehl_ps(four, four));
    return fold(two, _mm_movehdup_ps(two))[0];
  }
#endif
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof(v));
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = fold(lanes[i], lanes[i + width]);
  }
  return lanes[0];
}

inline float sum_of(Floats v) {
  return fold_lanes(v, [](auto near, auto far) { return near + far; });
}

inline float largest_of(Floats v) {
  return fold_lanes(v, [](auto near, auto far) { return far > near ? far : near; });
}

/// e^x to 2 units in the last place; 0 below -87.3, infinity above 88.7. Source: Cephes expf.
inline Floats exp_of(Floats x) {
  const Floats kept = x < -87.3f ? set1(-87.3f) : x;
  const Floats bounded = kept > 88.8f ? set1(88.8f) : kept;
  // Adding 1.5 * 2^23 leaves the nearest whole number in the low bits.
  const Floats shifted = bounded * 1.44269504088896341f + 12582912.0f;
  const Floats whole = shifted - 12582912.0f;
  const Floats r = (bounded - whole * 0.693359375f) - whole * -2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  // 2^n in two factors: 2^128 is none.
  const Ints n = reinterpret_cast<Ints>(shifted) - 0x4B400000;
  const Ints half = n >> 1;
  const Ints low = (half + 127) << 23;
  const Ints high = (n - half + 127) << 23;
  const Floats y = p * reinterpret_cast<Floats>(low) * reinterpret_cast<Floats>(high);
  return x < -87.3f ? Floats{} : y;
}

struct Float32 {
  using Storage = float;
  static Floats load(const Storage* p) { return load_as<Floats>(p); }
  static void store(Storage* p, Floats v) { std::memcpy(p, &v, sizeof(v)); }
  static Floats round(Floats v) { return v; }
};

struct BFloat16 {
  using Storage = std::uint16_t;
  static Floats load(const Storage* p) {
    return floats_of(__builtin_convertvector(load_as<Halves>(p), Words) << 16);
  }
  static void store(Storage* p, Floats v) {
    const Halves out = __builtin_convertvector(rounded_bits(v) >> 16, Halves);
    std::memcpy(p, &out, sizeof(out));
  }
  static Floats round(Floats v) { return floats_of(rounded_bits(v) & 0xFFFF0000u); }

 private:
  // To nearest even; NaN stays one.
  static Words rounded_bits(Floats v) {
    const Words bits = bits_of(v);
    const Words rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
    return v == v ? rounded : Words{} + 0x7FC00000u;  // One NaN for all, as torch writes it.
  }
};

struct Float16 {
  using Storage = std::uint16_t;
  static Floats load(const Storage* p) {
    return from_bits(__builtin_convertvector(load_as<Halves>(p), Words));
  }
  static void store(Storage* p, Floats v) {
    const Halves out = __builtin_convertvector(to_bits(v), Halves);
    std::memcpy(p, &out, sizeof(out));
  }
  static Floats round(Floats v) { return from_bits(to_bits(v)); }

 private:
  // The fields moved to where float32 has them are the value times 2^-112, subnormals too.
  static Floats from_bits(Words half) {
    const Floats scaled = floats_of((half & 0x7FFFu) << 13) * 0x1p112f;
    const Words magnitude_bits =
        scaled >= 0x1p16f ? bits_of(scaled) | 0x7F800000u : bits_of(scaled);
    return floats_of(magnitude_bits | ((half & 0x8000u) << 16));
  }
  // The sum with a power of two that is 2^13 times the last place float16 keeps rounds there.
  static Words to_bits(Floats v) {
    const Words sign = (bits_of(v) >> 16) & 0x8000u;
    const Floats scaled = (magnitude(v) * 0x1p112f) * 0x1p-110f;
    const Words doubled = bits_of(v) + bits_of(v);
    const Words exponent = doubled & 0xFF000000u;
    const Words bias = exponent < 0x71000000u ? Words{} + 0x71000000u : exponent;
    const Words sum = bits_of(floats_of((bias >> 1) + 0x07800000u) + scaled);
    const Words rounded = ((sum >> 13) & 0x7C00u) + (sum & 0x0FFFu);
    return sign | (doubled > 0xFF000000u ? Words{} + 0x7E00u : rounded);
  }
};

/// fn(i, count) for runs of kLanes elements and a last one of fewer.
template <typename F>
inline void for_lanes(std::int64_t n, const F& fn) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) fn(i, std::int64_t{kLanes});
  if (i < n) fn(i, n - i);
}

/// The first `count` lanes from p, zeros after them.
template <typename E>
inline Floats load_first(const typename E::Storage* p, std::int64_t count) {
  if (count == kLanes) return E::load(p);
  typename E::Storage lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<std::size_t>(count) * sizeof(lanes[0]));
  return E::load(lanes);
}

template <typename E>
inline void store_first(typename E::Storage* p, Floats v, std::int64_t count) {
  if (count == kLanes) return E::store(p, v);
  typename E::Storage lanes[kLanes];
  E::store(lanes, v);
  std::memcpy(p, lanes, static_cast<std::size_t>(count) * sizeof(lanes[0]));
}

}  // namespace
}  // namespace torchao_cpp
