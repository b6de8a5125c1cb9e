// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "torchao_cpp/dtype.h"

/// Scalar conversions between float32 and the narrow float formats, bit for bit as torch's casts on
/// the CPU (round to nearest even, subnormals kept).
namespace torchao_cpp {

inline float bf16_to_f32(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline std::uint16_t f32_to_bf16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fc0;  // torch writes one NaN for all
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(std::uint16_t h) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t rest = h & 0x7fffu;
  if (rest >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
  if (rest >= 0x400u) return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000u));
  // Subnormal: rest * 2^-24 is exact in float32.
  const float magnitude = static_cast<float>(rest) * 0x1p-24f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

inline std::uint16_t f32_to_f16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint16_t sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u)
    return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x1ffu));
  if (magnitude >= 0x477ff000u)
    return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {  // below 2^-14: subnormal result; adding 0.5 aligns the binary
                                  // point and rounds
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/// Rounds to `dtype` (float32, float16 or bfloat16) and back.
inline float round_to(DType dtype, float value) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return bf16_to_f32(f32_to_bf16(value));
    case DType::kFloat16:
      return f16_to_f32(f32_to_f16(value));
    default:
      return value;
  }
}

/// Calls fn.template operator()<D>() with `dtype` (float32, float16 or bfloat16) as a constant, so
/// that loops over elements do not decide per element.
template <typename F>
void for_dtype(DType dtype, const F& fn) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return fn.template operator()<DType::kBFloat16>();
    case DType::kFloat16:
      return fn.template operator()<DType::kFloat16>();
    default:
      return fn.template operator()<DType::kFloat32>();
  }
}

/// Reads element i of a float32, float16 or bfloat16 array.
inline float load_float(DType dtype, const void* data, std::int64_t i) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
    case DType::kFloat16:
      return f16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
    default:
      return static_cast<const float*>(data)[i];
  }
}

/// Writes element i of a float32, float16 or bfloat16 array, rounding to nearest even.
inline void store_float(DType dtype, void* data, std::int64_t i, float value) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      static_cast<std::uint16_t*>(data)[i] = f32_to_bf16(value);
      break;
    case DType::kFloat16:
      static_cast<std::uint16_t*>(data)[i] = f32_to_f16(value);
      break;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

/// Largest finite value of a float8, fp6 or fp4 format (448, 57344, 7.5, 28, 6).
float max_finite(DType dtype) noexcept;

/// One stored code -> float32. float8_e4m3fn, float8_e5m2, float8_e8m0fnu, fp6_e2m3, fp6_e3m2 (low
/// 6 bits), float4_e2m1fn_x2 (low 4 bits).
float decode_float(DType dtype, std::uint8_t code) noexcept;

/// decode_float of all 256 codes, for loops.
const float* decode_table(DType dtype) noexcept;

/// float32 -> float8 as torch casts on the CPU: round to nearest even; e4m3fn above the maximum
/// gives NaN, e5m2 inf.
std::uint8_t f32_to_float8(DType dtype, float value) noexcept;

/// float32 -> fp6 or fp4, round to nearest even, saturating, sign kept. NaN is a precondition
/// violation the caller handles.
std::uint8_t f32_to_fp6_fp4(DType dtype, float value) noexcept;

}  // namespace torchao_cpp
