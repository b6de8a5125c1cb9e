// SPDX-License-Identifier: Apache-2.0
#include "core/float_runs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "base/parallel.h"
#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

constexpr float power_of_two(int exponent) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

/// A sign, `kExponentBits` and `kMantissaBits` wide format with IEEE subnormals; `kNan` is the code
/// for NaN without sign.
template <int kExponentBits, int kMantissaBits, int kBias, std::uint32_t kNan>
struct Encoder {
  static constexpr int kSignShift = 31 - kExponentBits - kMantissaBits;

  /// Magnitude code of 0 <= a <= max finite, to nearest even.
  static std::uint32_t magnitude(float a) noexcept {
    constexpr int kDrop = 23 - kMantissaBits;
    constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - kBias) << kMantissaBits;
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(a);
    const std::uint32_t normal =
        ((bits + ((1u << (kDrop - 1)) - 1) + ((bits >> kDrop) & 1u)) >> kDrop) - kRebias;
    // The last bit of a float near kPush is one step of the subnormals, so the addition rounds to
    // whole steps.
    constexpr float kPush = power_of_two(1 - kBias - kMantissaBits + 23);
    const std::uint32_t subnormal =
        std::bit_cast<std::uint32_t>(a + kPush) - std::bit_cast<std::uint32_t>(kPush);
    constexpr float kMinNormal = power_of_two(1 - kBias);
    return a < kMinNormal ? subnormal : normal;
  }

  static void run(const float* values, std::int64_t count, float max,
                  std::uint8_t* codes) noexcept {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(values[i]);
      const float a = std::bit_cast<float>(bits & 0x7fffffffu);
      const std::uint32_t finite = magnitude(a > max ? max : a);
      const std::uint32_t code = a == a ? finite : kNan;
      codes[i] = static_cast<std::uint8_t>(code | ((bits & 0x80000000u) >> kSignShift));
    }
  }
};

template <typename Bits, std::uint32_t kMask>
std::uint32_t max_magnitude_bits(const void* data, std::int64_t begin,
                                 std::int64_t count) noexcept {
  using Signed = std::make_signed_t<Bits>;
  const Bits* values = static_cast<const Bits*>(data) + begin;
  // Without the sign bit, floats order like integers and NaN is above infinity.
  Signed best = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Signed magnitude = static_cast<Signed>(values[i] & kMask);
    best = magnitude > best ? magnitude : best;
  }
  return static_cast<std::uint32_t>(best);
}

}  // namespace

void load_floats(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                 float* out) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      for (std::int64_t i = 0; i < count; ++i)
        out[i] = load_float(DType::kBFloat16, data, begin + i);
      break;
    case DType::kFloat16:
      for (std::int64_t i = 0; i < count; ++i)
        out[i] = load_float(DType::kFloat16, data, begin + i);
      break;
    default:
      std::copy_n(static_cast<const float*>(data) + begin, count, out);
  }
}

void store_floats(DType dtype, void* data, std::int64_t begin, std::int64_t count,
                  const float* values) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      for (std::int64_t i = 0; i < count; ++i)
        store_float(DType::kBFloat16, data, begin + i, values[i]);
      break;
    case DType::kFloat16:
      for (std::int64_t i = 0; i < count; ++i)
        store_float(DType::kFloat16, data, begin + i, values[i]);
      break;
    default:
      std::copy_n(values, count, static_cast<float*>(data) + begin);
  }
}

float abs_max(DType dtype, const void* data, std::int64_t begin, std::int64_t count) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return bf16_to_f32(static_cast<std::uint16_t>(
          max_magnitude_bits<std::uint16_t, 0x7fffu>(data, begin, count)));
    case DType::kFloat16:
      return f16_to_f32(static_cast<std::uint16_t>(
          max_magnitude_bits<std::uint16_t, 0x7fffu>(data, begin, count)));
    default:
      return std::bit_cast<float>(
          max_magnitude_bits<std::uint32_t, 0x7fffffffu>(data, begin, count));
  }
}

float abs_max_rows(DType dtype, const void* data, std::int64_t rows, std::int64_t columns,
                   std::int64_t stride) noexcept {
  constexpr std::int64_t kParts = 64;
  std::array<float, kParts> parts{};
  parallel_for(kParts, kParts * row_grain(columns) / std::max<std::int64_t>(rows, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t p = begin; p < end; ++p) {
                   float best = 0.0f;
                   for (std::int64_t r = rows * p / kParts; r < rows * (p + 1) / kParts; ++r) {
                     const float v = abs_max(dtype, data, r * stride, columns);
                     best = v > best || v != v ? v : best;
                     if (best != best) break;
                   }
                   parts[static_cast<std::size_t>(p)] = best;
                 }
               });
  float best = 0.0f;
  for (const float v : parts) {
    if (v != v) return v;
    best = v > best ? v : best;
  }
  return best;
}

void encode_floats(DType element, const float* values, std::int64_t count,
                   std::uint8_t* codes) noexcept {
  const float max = max_finite(element);
  switch (element) {
    case DType::kFloat8E5M2:
      return Encoder<5, 2, 15, 0x7f>::run(values, count, max, codes);
    case DType::kFloat6E2M3:
      return Encoder<2, 3, 1, 12>::run(values, count, max, codes);
    case DType::kFloat6E3M2:
      return Encoder<3, 2, 3, 14>::run(values, count, max, codes);
    case DType::kFloat4E2M1FNx2:
      return Encoder<2, 1, 1, 3>::run(values, count, max, codes);
    default:
      return Encoder<4, 3, 7, 0x7f>::run(values, count, max, codes);
  }
}

void decode_floats(DType element, const std::uint8_t* codes, std::int64_t count,
                   float* out) noexcept {
  const float* table = decode_table(element);
  for (std::int64_t i = 0; i < count; ++i) out[i] = table[codes[i]];
}

std::int64_t code_bytes(DType element, std::int64_t count) noexcept {
  return element == DType::kFloat4E2M1FNx2 ? count / 2 : count;
}

void encode_packed(DType element, const float* values, std::int64_t count,
                   std::uint8_t* bytes) noexcept {
  if (element != DType::kFloat4E2M1FNx2) return encode_floats(element, values, count, bytes);
  std::uint8_t codes[kFloatRun];
  encode_floats(element, values, count, codes);
  for (std::int64_t i = 0; i < count / 2; ++i) {
    bytes[i] = static_cast<std::uint8_t>(codes[2 * i] | (codes[2 * i + 1] << 4));
  }
}

void decode_packed(DType element, const std::uint8_t* bytes, std::int64_t count,
                   float* out) noexcept {
  if (element != DType::kFloat4E2M1FNx2) return decode_floats(element, bytes, count, out);
  const float* table = decode_table(element);
  for (std::int64_t i = 0; i < count / 2; ++i) {
    out[2 * i] = table[bytes[i] & 15];
    out[2 * i + 1] = table[bytes[i] >> 4];
  }
}

std::int64_t row_grain(std::int64_t columns) noexcept {
  // About 32K values, below which starting threads costs more than the work.
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(columns, 1));
}

}  // namespace torchao_cpp
