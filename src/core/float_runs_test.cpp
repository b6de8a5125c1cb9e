// SPDX-License-Identifier: Apache-2.0
#include "core/float_runs.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "core/float_formats.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

constexpr std::array<DType, 5> kElements{DType::kFloat8E4M3FN, DType::kFloat8E5M2,
                                         DType::kFloat6E2M3, DType::kFloat6E3M2,
                                         DType::kFloat4E2M1FNx2};

std::uint8_t encode_one(DType element, float value) {
  std::uint8_t code = 0;
  encode_floats(element, &value, 1, &code);
  return code;
}

std::uint8_t encode_slowly(DType element, float value) {
  const float max = max_finite(element);
  const float clamped = std::fmin(std::fmax(value, -max), max);
  const bool is_float8 = element == DType::kFloat8E4M3FN || element == DType::kFloat8E5M2;
  return is_float8 ? f32_to_float8(element, clamped) : f32_to_fp6_fp4(element, clamped);
}

TEST(EncodeFloats, EqualsTheScalarConversionsOnEveryFloatOfSixteenBits) {
  for (const DType element : kElements) {
    for (std::uint32_t high = 0; high < 65536; ++high) {
      const float value = std::bit_cast<float>(high << 16);
      if (std::isnan(value)) continue;
      for (const float v : {value, std::nextafter(value, kInf), std::nextafter(value, -kInf)}) {
        if (std::isnan(v)) continue;
        ASSERT_EQ(encode_one(element, v), encode_slowly(element, v))
            << dtype_name(element) << " " << v;
      }
    }
  }
}

TEST(EncodeFloats, RoundsTiesToEvenAtEveryStep) {
  for (const DType element : kElements) {
    const int codes = static_cast<int>(encode_one(element, max_finite(element)));
    for (int code = 0; code < codes; ++code) {
      const float low = decode_float(element, static_cast<std::uint8_t>(code));
      const float high = decode_float(element, static_cast<std::uint8_t>(code + 1));
      EXPECT_EQ(encode_one(element, (low + high) / 2.0f), code % 2 == 0 ? code : code + 1);
      EXPECT_EQ(encode_one(element, low), code);
    }
  }
}

TEST(EncodeFloats, KeepsSignsAndNan) {
  EXPECT_EQ(encode_one(DType::kFloat8E4M3FN, -0.0f), 0x80);
  EXPECT_EQ(encode_one(DType::kFloat4E2M1FNx2, -0.0f), 0x08);
  EXPECT_EQ(encode_one(DType::kFloat6E2M3, -kInf), 0x3f);
  EXPECT_EQ(encode_one(DType::kFloat8E5M2, kInf), 0x7b);
  EXPECT_EQ(encode_one(DType::kFloat8E4M3FN, kNan) & 0x7f, 0x7f);
  EXPECT_EQ(encode_one(DType::kFloat8E5M2, kNan) & 0x7f, 0x7f);
}

TEST(EncodePacked, PutsTheEvenValueIntoTheLowNibble) {
  const std::array<float, 4> values{0.5f, -6.0f, 3.0f, 0.0f};
  std::array<std::uint8_t, 2> bytes{};
  encode_packed(DType::kFloat4E2M1FNx2, values.data(), 4, bytes.data());
  EXPECT_EQ(bytes[0], 0xf1);
  EXPECT_EQ(bytes[1], 0x05);
  std::array<float, 4> back{};
  decode_packed(DType::kFloat4E2M1FNx2, bytes.data(), 4, back.data());
  EXPECT_EQ(back, values);
  EXPECT_EQ(code_bytes(DType::kFloat4E2M1FNx2, 64), 32);
  EXPECT_EQ(code_bytes(DType::kFloat6E3M2, 64), 64);
}

TEST(AbsMax, TakesTheLargestMagnitudeAndKeepsNan) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    std::vector<float> values(100, 0.25f);
    values[70] = -3.0f;
    const Tensor t = Tensor::from_values<float>(DType::kFloat32, {100}, values).to(dtype);
    EXPECT_EQ(abs_max(dtype, t.bytes(), 0, 100), 3.0f);
    EXPECT_EQ(abs_max(dtype, t.bytes(), 71, 29), 0.25f);
    EXPECT_EQ(abs_max(dtype, t.bytes(), 0, 0), 0.0f);
    EXPECT_EQ(abs_max_rows(dtype, t.bytes(), 5, 10, 20), 0.25f);
    EXPECT_EQ(abs_max_rows(dtype, t.bytes(), 10, 10, 10), 3.0f);
    values[5] = kInf;
    values[9] = kNan;
    const Tensor bad = Tensor::from_values<float>(DType::kFloat32, {100}, values).to(dtype);
    EXPECT_EQ(abs_max(dtype, bad.bytes(), 0, 9), kInf);
    EXPECT_TRUE(std::isnan(abs_max(dtype, bad.bytes(), 0, 100)));
    EXPECT_TRUE(std::isnan(abs_max_rows(dtype, bad.bytes(), 10, 10, 10)));
  }
}

TEST(LoadFloats, ReadsWhatStoreFloatsWrites) {
  const std::array<float, 3> values{1.5f, -2.0f, 0.125f};
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    Tensor t = Tensor::zeros(dtype, {5});
    store_floats(dtype, t.mutable_bytes(), 1, 3, values.data());
    std::array<float, 5> back{};
    load_floats(dtype, t.bytes(), 0, 5, back.data());
    EXPECT_EQ(back, (std::array<float, 5>{0.0f, 1.5f, -2.0f, 0.125f, 0.0f}));
  }
}

}  // namespace
}  // namespace torchao_cpp
