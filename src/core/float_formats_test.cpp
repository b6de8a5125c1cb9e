// SPDX-License-Identifier: Apache-2.0
#include "core/float_formats.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

namespace torchao_cpp {
namespace {

TEST(FloatFormats, F16RoundTripsEveryCode) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const float value = f16_to_f32(static_cast<std::uint16_t>(code));
    if (std::isnan(value)) continue;
    ASSERT_EQ(f32_to_f16(value), code) << std::hexfloat << value;
  }
}

// Before 15, clang has the type only where the processor computes with it.
#if !defined(__clang__) || __clang_major__ >= 15
TEST(FloatFormats, F16AgreesWithTheCompilersType) {
  std::mt19937 random(1);
  for (int i = 0; i < 2000000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) continue;
    const auto expected = std::bit_cast<std::uint16_t>(static_cast<_Float16>(value));
    ASSERT_EQ(f32_to_f16(value), expected) << std::hexfloat << value;
  }
}
#endif

TEST(FloatFormats, BF16RoundsHalfToEven) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(f32_to_bf16(3.4e38f), 0x7f80);
}

class NarrowFormat : public ::testing::TestWithParam<DType> {};

/// Nearest code by exhaustive search, ties to the even code: the definition itself.
std::uint8_t nearest(DType dtype, float value, int codes) {
  int best = 0;
  double best_distance = HUGE_VAL;
  for (int code = 0; code < codes; ++code) {
    const double candidate = decode_float(dtype, static_cast<std::uint8_t>(code));
    if (!std::isfinite(candidate)) continue;
    const double distance = std::fabs(candidate - std::fabs(static_cast<double>(value)));
    if (distance < best_distance || (distance == best_distance && code % 2 == 0)) {
      best = code;
      best_distance = distance;
    }
  }
  return static_cast<std::uint8_t>(best | (std::signbit(value) ? codes : 0));
}

TEST_P(NarrowFormat, RoundsToTheNearestCodeTiesToEven) {
  const DType dtype = GetParam();
  const bool is_float8 = dtype == DType::kFloat8E4M3FN || dtype == DType::kFloat8E5M2;
  const int codes = is_float8 ? 128 : dtype == DType::kFloat4E2M1FNx2 ? 8 : 32;
  std::mt19937 random(7);
  std::uniform_real_distribution<float> exponent(-20, std::log2(max_finite(dtype)));
  for (int i = 0; i < 20000; ++i) {
    float value = std::exp2(exponent(random));
    if (i % 4 == 0) {  // an exact midpoint of two neighbours
      const auto code = static_cast<std::uint8_t>(random() % static_cast<unsigned>(codes - 4));
      value = (decode_float(dtype, code) + decode_float(dtype, static_cast<std::uint8_t>(code + 1))) / 2;
      if (!std::isfinite(value) || value > max_finite(dtype)) continue;
    }
    if (i % 2) value = -value;
    const std::uint8_t got = is_float8 ? f32_to_float8(dtype, value) : f32_to_fp6_fp4(dtype, value);
    ASSERT_EQ(got, nearest(dtype, value, codes)) << dtype_name(dtype) << " " << std::hexfloat << value;
  }
}

INSTANTIATE_TEST_SUITE_P(All, NarrowFormat,
                         ::testing::Values(DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat6E2M3,
                                           DType::kFloat6E3M2, DType::kFloat4E2M1FNx2));

TEST(FloatFormats, Float8AboveTheMaximum) {
  EXPECT_EQ(f32_to_float8(DType::kFloat8E4M3FN, 464.0f), 0x7e);  // tie to even stays finite
  EXPECT_EQ(f32_to_float8(DType::kFloat8E4M3FN, 465.0f), 0x7f);
  EXPECT_EQ(f32_to_float8(DType::kFloat8E5M2, 1e9f), 0x7c);
  EXPECT_EQ(f32_to_float8(DType::kFloat8E5M2, -1e9f), 0xfc);
}

}  // namespace
}  // namespace torchao_cpp
