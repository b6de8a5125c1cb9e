// SPDX-License-Identifier: Apache-2.0
#include "core/float_formats.h"

#include <array>

namespace torchao_cpp {
namespace {

/// A sign, `exponent_bits` and `mantissa_bits` wide format with IEEE subnormals.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  float max_finite;
};

constexpr Format kE4M3{4, 3, 7, 448.0f};
constexpr Format kE5M2{5, 2, 15, 57344.0f};
constexpr Format kE2M3{2, 3, 1, 7.5f};
constexpr Format kE3M2{3, 2, 3, 28.0f};
constexpr Format kE2M1{2, 1, 1, 6.0f};

const Format& format_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat8E5M2:
      return kE5M2;
    case DType::kFloat6E2M3:
      return kE2M3;
    case DType::kFloat6E3M2:
      return kE3M2;
    case DType::kFloat4E2M1FNx2:
      return kE2M1;
    default:
      return kE4M3;
  }
}

float decode_finite(const Format& f, std::uint8_t code) noexcept {
  const int total = f.exponent_bits + f.mantissa_bits;
  const int mantissa = code & ((1 << f.mantissa_bits) - 1);
  const int exponent = (code >> f.mantissa_bits) & ((1 << f.exponent_bits) - 1);
  const float magnitude =
      exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - f.bias - f.mantissa_bits)
                    : std::ldexp(static_cast<float>(mantissa | (1 << f.mantissa_bits)),
                                 exponent - f.bias - f.mantissa_bits);
  return (code >> total) & 1 ? -magnitude : magnitude;
}

float decode_slow(DType dtype, std::uint8_t code) noexcept {
  if (dtype == DType::kFloat8E8M0FNU) {
    if (code == 255) return std::nanf("");
    return std::ldexp(1.0f, static_cast<int>(code) - 127);
  }
  if (dtype == DType::kFloat8E4M3FN && (code & 0x7f) == 0x7f) return std::nanf("");
  if (dtype == DType::kFloat8E5M2 && (code & 0x7f) >= 0x7c) {
    if ((code & 3) != 0) return std::nanf("");
    return code & 0x80 ? -HUGE_VALF : HUGE_VALF;
  }
  if (dtype == DType::kFloat6E2M3 || dtype == DType::kFloat6E3M2) code &= 0x3f;
  if (dtype == DType::kFloat4E2M1FNx2) code &= 0x0f;
  return decode_finite(format_of(dtype), code);
}

using Table = std::array<float, 256>;

Table make_table(DType dtype) noexcept {
  Table table{};
  for (int i = 0; i < 256; ++i) table[i] = decode_slow(dtype, static_cast<std::uint8_t>(i));
  return table;
}

/// Magnitude bits (no sign) of the nearest value, ties to even, as if the exponent range had no upper end.
std::uint32_t round_magnitude(const Format& f, float magnitude) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(magnitude);
  const int exponent = static_cast<int>(bits >> 23) - 127;
  const int min_exponent = 1 - f.bias;
  if (exponent < min_exponent) {
    // Subnormal: count of steps of 2^(min_exponent - mantissa_bits); the scaling is exact and nearbyint rounds to even.
    return static_cast<std::uint32_t>(
        std::nearbyint(std::ldexp(static_cast<double>(magnitude), f.mantissa_bits - min_exponent)));
  }
  const int drop = 23 - f.mantissa_bits;
  const std::uint32_t rounded = bits + ((1u << (drop - 1)) - 1) + ((bits >> drop) & 1u);
  return (rounded >> drop) - (static_cast<std::uint32_t>(127 - f.bias) << f.mantissa_bits);
}

}  // namespace

float max_finite(DType dtype) noexcept { return format_of(dtype).max_finite; }

const float* decode_table(DType dtype) noexcept {
  static const Table kTables[] = {make_table(DType::kFloat8E4M3FN),  make_table(DType::kFloat8E5M2),
                                  make_table(DType::kFloat8E8M0FNU), make_table(DType::kFloat6E2M3),
                                  make_table(DType::kFloat6E3M2),    make_table(DType::kFloat4E2M1FNx2)};
  switch (dtype) {
    case DType::kFloat8E5M2:
      return kTables[1].data();
    case DType::kFloat8E8M0FNU:
      return kTables[2].data();
    case DType::kFloat6E2M3:
      return kTables[3].data();
    case DType::kFloat6E3M2:
      return kTables[4].data();
    case DType::kFloat4E2M1FNx2:
      return kTables[5].data();
    default:
      return kTables[0].data();
  }
}

float decode_float(DType dtype, std::uint8_t code) noexcept { return decode_table(dtype)[code]; }

std::uint8_t f32_to_float8(DType dtype, float value) noexcept {
  const Format& f = format_of(dtype);
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const bool is_e5m2 = dtype == DType::kFloat8E5M2;
  const std::uint32_t overflow = is_e5m2 ? 0x7cu : 0x7fu;  // e5m2: inf; e4m3fn: NaN
  if (std::isnan(value)) return static_cast<std::uint8_t>(sign | 0x7fu);
  if (std::isinf(value)) return static_cast<std::uint8_t>(sign | overflow);
  const std::uint32_t magnitude = round_magnitude(f, std::fabs(value));
  return static_cast<std::uint8_t>(sign | (magnitude >= overflow ? overflow : magnitude));
}

std::uint8_t f32_to_fp6_fp4(DType dtype, float value) noexcept {
  const Format& f = format_of(dtype);
  const int total = f.exponent_bits + f.mantissa_bits;
  const std::uint32_t largest = (1u << total) - 1;
  const std::uint32_t sign = std::signbit(value) ? 1u << total : 0u;
  const float magnitude = std::fabs(value);
  if (!(magnitude < f.max_finite)) return static_cast<std::uint8_t>(sign | largest);
  const std::uint32_t rounded = round_magnitude(f, magnitude);
  return static_cast<std::uint8_t>(sign | (rounded > largest ? largest : rounded));
}

}  // namespace torchao_cpp
