// SPDX-License-Identifier: Apache-2.0
#include "core/mx_quant.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

constexpr int kExponentBias = 127;
constexpr std::uint8_t kNanExponent = 255;

/// Exponent of the largest power of two in the format, and its mantissa bits.
struct ElementRange {
  int max_exponent;
  int mantissa_bits;
};

ElementRange element_range(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat8E5M2:
      return {15, 2};
    case DType::kFloat6E2M3:
      return {2, 3};
    case DType::kFloat6E3M2:
      return {4, 2};
    case DType::kFloat4E2M1FNx2:
      return {2, 1};
    default:
      return {8, 3};
  }
}

std::uint8_t rceil_scale(float descale) noexcept {
  if (std::isnan(descale)) return kNanExponent;
  if (std::isinf(descale)) return 254;
  if (descale == 0.0f) return 0;
  // torch's float32 log2 is this one rounded, so a value just above a power of two counts as that
  // power. 64 steps above it the logarithm is further away than half a step of any float32 below
  // 150.
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(descale);
  const std::uint32_t exponent_bits = bits >> 23;
  if (exponent_bits != 0 && exponent_bits < 254 && (bits & 0x7fffffu) >= 64)
    return static_cast<std::uint8_t>(exponent_bits + 1);
  const float log = static_cast<float>(std::log2(static_cast<double>(descale)));
  const float exponent = std::clamp(std::ceil(log), -127.0f, 127.0f);
  return static_cast<std::uint8_t>(static_cast<int>(exponent) + kExponentBias);
}

// -127 <= exponent <= 127
float power_of_two(int exponent) noexcept {
  const auto bits = exponent == -127 ? 0x400000u : static_cast<std::uint32_t>(exponent + 127) << 23;
  return std::bit_cast<float>(bits);
}

// What a block's values are multiplied with before they are encoded. Powers of two, so the product
// equals torchao's quotient in every case, infinities included.
float encode_factor(ScaleCalculationMode mode, std::uint8_t exponent, float abs_max) noexcept {
  if (mode == ScaleCalculationMode::kRceil) {
    if (exponent == kNanExponent) return abs_max;
    if (exponent == 0) return 1.0f;
    return power_of_two(kExponentBias - exponent);
  }
  // The divisor 2^(exponent - 127) has no values below 2^-126, and 255 reads as infinity.
  if (exponent == kNanExponent) return 0.0f;
  return power_of_two(kExponentBias - std::max<int>(exponent, 1));
}

// `largest`: the format's.
std::uint8_t choose_exponent(const MXFormat& format, float abs_max, float largest) noexcept {
  if (format.scaling_mode == ScaleCalculationMode::kRceil) return rceil_scale(abs_max / largest);
  if (std::isnan(abs_max)) return kNanExponent;
  const ElementRange range = element_range(format.element_dtype);
  std::uint32_t bits = std::bit_cast<std::uint32_t>(abs_max);
  if (format.scaling_mode == ScaleCalculationMode::kEven) {
    // Rounds to the element's mantissa; a carry moves into the exponent.
    bits = (bits + (1u << (22 - range.mantissa_bits))) & 0x7f800000u;
  }
  int exponent = static_cast<int>(bits >> 23) - kExponentBias - range.max_exponent;
  if (format.scaling_mode == ScaleCalculationMode::kCeil && (bits & 0x7fffffu) != 0) ++exponent;
  return static_cast<std::uint8_t>(std::clamp(exponent, -127, 128) + kExponentBias);
}

// Every element of every format is exact in float16 and bfloat16; a scale may not be in float16.
float decode_factor(std::uint8_t exponent, DType dtype) noexcept {
  return round_to(dtype, decode_float(DType::kFloat8E8M0FNU, exponent));
}

}  // namespace

bool is_mx_element_dtype(DType dtype) noexcept {
  return dtype == DType::kFloat8E4M3FN || dtype == DType::kFloat8E5M2 ||
         dtype == DType::kFloat6E2M3 || dtype == DType::kFloat6E3M2 ||
         dtype == DType::kFloat4E2M1FNx2;
}

MXBlockScale choose_mx_scale(const MXFormat& format, float abs_max, DType dtype) noexcept {
  const std::uint8_t exponent = choose_exponent(format, abs_max, max_finite(format.element_dtype));
  return {exponent, encode_factor(format.scaling_mode, exponent, abs_max),
          decode_factor(exponent, dtype)};
}

void quantize_mx(const MXFormat& format, DType dtype, const void* data, std::int64_t begin,
                 std::int64_t count, std::uint8_t* codes, std::uint8_t* scales) noexcept {
  const std::int64_t size = format.block_size;
  const std::int64_t blocks = count / size;
  // Blocks that fit into the buffer go through it together.
  const std::int64_t at_once = std::max<std::int64_t>(kFloatRun / size, 1);
  const float largest = max_finite(format.element_dtype);
  float values[kFloatRun];
  float factors[kFloatRun];
  for (std::int64_t b = 0; b < blocks; b += at_once) {
    const std::int64_t in_run = std::min(at_once, blocks - b);
    block_abs_max(dtype, data, begin + b * size, in_run, size, factors);
    prefetch_elements(dtype, data, begin + (b + at_once) * size, in_run * size);
    for (std::int64_t i = 0; i < in_run; ++i) {
      const std::uint8_t exponent = choose_exponent(format, factors[i], largest);
      scales[b + i] = exponent;
      factors[i] = encode_factor(format.scaling_mode, exponent, factors[i]);
    }
    for (std::int64_t done = 0; done < in_run * size; done += kFloatRun) {
      const std::int64_t n = std::min(kFloatRun, in_run * size - done);
      load_floats(dtype, data, begin + b * size + done, n, values);
      multiply_blocks(factors, in_run, n / in_run, values);
      encode_packed(format.element_dtype, values, n,
                    codes + code_bytes(format.element_dtype, b * size + done));
    }
  }
}

void dequantize_mx(const MXFormat& format, const std::uint8_t* codes, const std::uint8_t* scales,
                   std::int64_t count, DType dtype, void* out, std::int64_t begin) noexcept {
  float values[kFloatRun];
  for (std::int64_t b = 0; b < count / format.block_size; ++b) {
    const std::int64_t first = b * format.block_size;
    const float scale = decode_factor(scales[b], dtype);
    for (std::int64_t done = 0; done < format.block_size; done += kFloatRun) {
      const std::int64_t n = std::min(kFloatRun, format.block_size - done);
      decode_packed(format.element_dtype, codes + code_bytes(format.element_dtype, first + done), n,
                    values);
      for (std::int64_t i = 0; i < n; ++i) values[i] *= scale;
      store_floats(dtype, out, begin + first + done, n, values);
    }
  }
}

}  // namespace torchao_cpp
