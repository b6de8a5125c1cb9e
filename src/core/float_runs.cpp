// SPDX-License-Identifier: Apache-2.0
#include "core/float_runs.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include "base/parallel.h"
#include "base/vector_clones.h"
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

  /// Magnitude code of the float with these bits, 0 <= it <= max finite, to nearest even. Signed:
  /// the instruction sets order signed integers. No choice between the two ways: of each taken at
  /// the smallest normal number, where they meet, one adds nothing.
  [[gnu::always_inline]] static std::int32_t magnitude(std::int32_t bits) noexcept {
    constexpr int kDrop = 23 - kMantissaBits;
    constexpr std::int32_t kRebias = (127 - kBias) << kMantissaBits;
    constexpr std::int32_t kMinNormal = std::bit_cast<std::int32_t>(power_of_two(1 - kBias));
    const std::int32_t above = bits > kMinNormal ? bits : kMinNormal;
    const std::int32_t normal =
        ((above + ((1 << (kDrop - 1)) - 1) + ((above >> kDrop) & 1)) >> kDrop) - kRebias;
    // The last bit of a float near kPush is one step of the subnormals, so the addition rounds to
    // whole steps.
    constexpr float kPush = power_of_two(1 - kBias - kMantissaBits + 23);
    const std::int32_t below = bits < kMinNormal ? bits : kMinNormal;
    const std::int32_t steps = std::bit_cast<std::int32_t>(std::bit_cast<float>(below) + kPush) -
                               std::bit_cast<std::int32_t>(kPush);
    return normal + steps - (1 << kMantissaBits);
  }

  [[gnu::always_inline]] static std::uint8_t code(float value, float max) noexcept {
    const std::int32_t bits = std::bit_cast<std::int32_t>(value);
    const std::int32_t a = bits & 0x7fffffff;
    const std::int32_t most = std::bit_cast<std::int32_t>(max);
    const std::int32_t finite = magnitude(a < most ? a : most);
    const std::int32_t unsigned_code = a > 0x7f800000 ? static_cast<std::int32_t>(kNan) : finite;
    return static_cast<std::uint8_t>(
        unsigned_code |
        static_cast<std::int32_t>((static_cast<std::uint32_t>(bits) & 0x80000000u) >> kSignShift));
  }

  [[gnu::always_inline]] static void run(const float* values, std::int64_t count, float max,
                                         std::uint8_t* codes) noexcept {
    for (std::int64_t i = 0; i < count; ++i) codes[i] = code(values[i], max);
  }
};

TORCHAO_CPP_VECTOR_CLONES void encode_e4m3(const float* values, std::int64_t count,
                                           std::uint8_t* codes) noexcept {
  Encoder<4, 3, 7, 0x7f>::run(values, count, 448.0f, codes);
}

// Divides on the way: the divider works while codes are formed.
TORCHAO_CPP_VECTOR_CLONES void encode_e4m3_bf16_quotients(const std::uint16_t* values,
                                                          std::int64_t count, float divisor,
                                                          std::uint8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = Encoder<4, 3, 7, 0x7f>::code(bf16_to_f32(values[i]) / divisor, 448.0f);
}

TORCHAO_CPP_VECTOR_CLONES void divide(float* values, std::int64_t count, float divisor) noexcept {
  for (std::int64_t i = 0; i < count; ++i) values[i] /= divisor;
}

TORCHAO_CPP_VECTOR_CLONES void encode_e5m2(const float* values, std::int64_t count,
                                           std::uint8_t* codes) noexcept {
  Encoder<5, 2, 15, 0x7f>::run(values, count, 57344.0f, codes);
}

TORCHAO_CPP_VECTOR_CLONES void encode_e2m3(const float* values, std::int64_t count,
                                           std::uint8_t* codes) noexcept {
  Encoder<2, 3, 1, 12>::run(values, count, 7.5f, codes);
}

TORCHAO_CPP_VECTOR_CLONES void encode_e3m2(const float* values, std::int64_t count,
                                           std::uint8_t* codes) noexcept {
  Encoder<3, 2, 3, 14>::run(values, count, 28.0f, codes);
}

TORCHAO_CPP_VECTOR_CLONES void encode_e2m1(const float* values, std::int64_t count,
                                           std::uint8_t* codes) noexcept {
  Encoder<2, 1, 1, 3>::run(values, count, 6.0f, codes);
}

TORCHAO_CPP_VECTOR_CLONES void pack_nibbles(const std::uint8_t* codes, std::int64_t bytes,
                                            std::uint8_t* packed) noexcept {
  for (std::int64_t i = 0; i < bytes; ++i)
    packed[i] = static_cast<std::uint8_t>(codes[2 * i] | (codes[2 * i + 1] << 4));
}

// Calls fn(size) with the usual block sizes as constants: their loops need no rests.
template <typename F>
[[gnu::always_inline]] inline void with_block_size(std::int64_t size, const F& fn) noexcept {
  switch (size) {
    case 16:
      return fn(std::int64_t{16});
    case 32:
      return fn(std::int64_t{32});
    case 128:
      return fn(std::int64_t{128});
    default:
      return fn(size);
  }
}

// Without the sign bit, floats order like integers and NaN is above infinity.
template <typename Signed>
[[gnu::always_inline]] inline void max_magnitudes(const Signed* values, std::int64_t blocks,
                                                  std::int64_t size, Signed* out) noexcept {
  constexpr Signed kMask = std::numeric_limits<Signed>::max();
  for (std::int64_t b = 0; b < blocks; ++b) {
    Signed best = 0;
    for (std::int64_t i = b * size; i < (b + 1) * size; ++i) {
      const Signed magnitude = static_cast<Signed>(values[i] & kMask);
      best = magnitude > best ? magnitude : best;
    }
    out[b] = best;
  }
}

TORCHAO_CPP_VECTOR_CLONES void max_magnitudes_16(const std::int16_t* values, std::int64_t blocks,
                                                 std::int64_t size, std::int16_t* out) noexcept {
  with_block_size(
      size, [=](std::int64_t count)
                __attribute__((always_inline)) { max_magnitudes(values, blocks, count, out); });
}

TORCHAO_CPP_VECTOR_CLONES void max_magnitudes_32(const std::int32_t* values, std::int64_t blocks,
                                                 std::int64_t size, std::int32_t* out) noexcept {
  with_block_size(
      size, [=](std::int64_t count)
                __attribute__((always_inline)) { max_magnitudes(values, blocks, count, out); });
}

TORCHAO_CPP_VECTOR_CLONES void load_bf16(const std::uint16_t* values, std::int64_t count,
                                         float* out) noexcept {
  for (std::int64_t i = 0; i < count; ++i) out[i] = bf16_to_f32(values[i]);
}

TORCHAO_CPP_VECTOR_CLONES void store_bf16(const float* values, std::int64_t count,
                                          std::uint16_t* out) noexcept {
  for (std::int64_t i = 0; i < count; ++i) out[i] = f32_to_bf16(values[i]);
}

TORCHAO_CPP_VECTOR_CLONES void multiply(const float* factors, std::int64_t blocks,
                                        std::int64_t size, float* values) noexcept {
  with_block_size(
      size, [=](std::int64_t count) __attribute__((always_inline)) {
        for (std::int64_t b = 0; b < blocks; ++b) {
          const float factor = factors[b];
          for (std::int64_t i = b * count; i < (b + 1) * count; ++i) values[i] *= factor;
        }
      });
}

}  // namespace

void load_floats(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                 float* out) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      load_bf16(static_cast<const std::uint16_t*>(data) + begin, count, out);
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
      store_bf16(values, count, static_cast<std::uint16_t*>(data) + begin);
      break;
    case DType::kFloat16:
      for (std::int64_t i = 0; i < count; ++i)
        store_float(DType::kFloat16, data, begin + i, values[i]);
      break;
    default:
      std::copy_n(values, count, static_cast<float*>(data) + begin);
  }
}

void multiply_blocks(const float* factors, std::int64_t blocks, std::int64_t size,
                     float* values) noexcept {
  multiply(factors, blocks, size, values);
}

void block_abs_max(DType dtype, const void* data, std::int64_t begin, std::int64_t blocks,
                   std::int64_t size, float* out) noexcept {
  constexpr std::int64_t kAtOnce = 64;
  std::array<std::int16_t, kAtOnce> halves;
  std::array<std::int32_t, kAtOnce> words;
  for (std::int64_t b = 0; b < blocks; b += kAtOnce) {
    const std::int64_t count = std::min(kAtOnce, blocks - b);
    const std::int64_t first = begin + b * size;
    if (dtype == DType::kFloat32) {
      max_magnitudes_32(static_cast<const std::int32_t*>(data) + first, count, size, words.data());
      for (std::int64_t i = 0; i < count; ++i)
        out[b + i] = std::bit_cast<float>(words[static_cast<std::size_t>(i)]);
    } else {
      max_magnitudes_16(static_cast<const std::int16_t*>(data) + first, count, size, halves.data());
      load_floats(dtype, halves.data(), 0, count, out + b);
    }
  }
}

float abs_max(DType dtype, const void* data, std::int64_t begin, std::int64_t count) noexcept {
  float result = 0.0f;
  block_abs_max(dtype, data, begin, 1, count, &result);
  return result;
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
  switch (element) {
    case DType::kFloat8E5M2:
      return encode_e5m2(values, count, codes);
    case DType::kFloat6E2M3:
      return encode_e2m3(values, count, codes);
    case DType::kFloat6E3M2:
      return encode_e3m2(values, count, codes);
    case DType::kFloat4E2M1FNx2:
      return encode_e2m1(values, count, codes);
    default:
      return encode_e4m3(values, count, codes);
  }
}

void encode_quotients(DType element, DType dtype, const void* data, std::int64_t begin,
                      std::int64_t count, float divisor, std::uint8_t* codes) noexcept {
  if (element == DType::kFloat8E4M3FN && dtype == DType::kBFloat16) {
    return encode_e4m3_bf16_quotients(static_cast<const std::uint16_t*>(data) + begin, count,
                                      divisor, codes);
  }
  float values[kFloatRun];
  for (std::int64_t done = 0; done < count; done += kFloatRun) {
    const std::int64_t n = std::min(kFloatRun, count - done);
    load_floats(dtype, data, begin + done, n, values);
    divide(values, n, divisor);
    encode_floats(element, values, n, codes + done);
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
  std::uint8_t codes[kBlockRun];
  encode_floats(element, values, count, codes);
  pack_nibbles(codes, count / 2, bytes);
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
