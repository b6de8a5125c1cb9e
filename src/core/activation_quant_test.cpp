// SPDX-License-Identifier: Apache-2.0
#include "core/activation_quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/float_formats.h"
#include "core/float_runs.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {
namespace {

using Kind = ActivationQuant::Kind;

constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

/// An activation whose rows lie further apart than their length.
struct Activation {
  Tensor storage;
  ActivationView view;
};

Activation activation(DType dtype, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kGap = 3;
  Tensor t = Tensor::empty(DType::kFloat32, {rows, columns + kGap});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = std::sin(static_cast<float>(i) * 0.37f) * (1.0f + static_cast<float>(i % 7));
  t = t.to(dtype);
  return {t, {t.bytes(), dtype, rows, columns, columns + kGap}};
}

float value_at(const ActivationView& x, std::int64_t m, std::int64_t k) {
  return load_float(x.dtype, x.data, m * x.stride + k);
}

ActivationQuant quant(Kind kind, Granularity granularity) {
  ActivationQuant q;
  q.kind = kind;
  q.granularity = std::move(granularity);
  return q;
}

TEST(QuantizeActivationInt8, RowsAreWithinHalfAStep) {
  for (const DType dtype : kFloats) {
    for (const MappingType mapping : {MappingType::kSymmetric, MappingType::kAsymmetric}) {
      const Activation x = activation(dtype, 5, 64);
      ActivationQuant q = quant(Kind::kInt8Dynamic, PerRow{});
      q.mapping_type = mapping;
      std::vector<std::int8_t> codes(5 * 64);
      std::vector<float> scale(5);
      std::vector<std::int8_t> zero_point(5);
      quantize_activation_int8(x.view, q, codes.data(), scale.data(), zero_point.data());
      for (std::int64_t m = 0; m < 5; ++m) {
        if (mapping == MappingType::kSymmetric) {
          EXPECT_EQ(zero_point[m], 0);
        }
        for (std::int64_t k = 0; k < 64; ++k) {
          const float back = static_cast<float>(codes[m * 64 + k] - zero_point[m]) * scale[m];
          // The largest value clips by half a step in the symmetric mapping, and bf16 rounds the
          // scale.
          EXPECT_NEAR(back, value_at(x.view, m, k), 1.1f * scale[m]);
        }
      }
    }
  }
}

TEST(QuantizeActivationInt8, KnownValues) {
  // max 2: scale 2 / 127.5; codes round(x / scale).
  const std::vector<float> values{2.0f, -1.0f, 0.0f, 0.25f};
  const Tensor t = Tensor::from_values<float>(DType::kFloat32, {1, 4}, values);
  ActivationQuant q = quant(Kind::kInt8Dynamic, PerRow{});
  std::vector<std::int8_t> codes(4);
  float scale = 0.0f;
  quantize_activation_int8({t.bytes(), DType::kFloat32, 1, 4, 4}, q, codes.data(), &scale, nullptr);
  EXPECT_EQ(scale, 2.0f / 127.5f);
  EXPECT_EQ(codes, (std::vector<std::int8_t>{127, -64, 0, 16}));
  q.reduce_range = true;
  quantize_activation_int8({t.bytes(), DType::kFloat32, 1, 4, 4}, q, codes.data(), &scale, nullptr);
  EXPECT_EQ(scale, 2.0f / 63.5f);
  EXPECT_EQ(codes, (std::vector<std::int8_t>{63, -32, 0, 8}));
}

TEST(QuantizeActivationInt8, PerTensorRepeatsTheScaleOfAllRows) {
  const Activation x = activation(DType::kBFloat16, 300, 40);
  const ActivationQuant q = quant(Kind::kInt8Dynamic, PerTensor{});
  std::vector<std::int8_t> codes(300 * 40);
  std::vector<float> scale(300);
  quantize_activation_int8(x.view, q, codes.data(), scale.data(), nullptr);
  float largest = 0.0f;
  for (std::int64_t m = 0; m < 300; ++m) {
    for (std::int64_t k = 0; k < 40; ++k)
      largest = std::fmax(largest, std::fabs(value_at(x.view, m, k)));
  }
  const float expected = round_to(DType::kBFloat16, largest / 127.5f);
  for (const float s : scale) EXPECT_EQ(s, expected);
}

TEST(QuantizeActivationInt8, StaticTakesTheStoredScale) {
  const std::vector<float> values{1.0f, -0.5f};
  const Tensor t = Tensor::from_values<float>(DType::kFloat32, {2, 1}, values);
  ActivationQuant q = quant(Kind::kInt8Static, PerTensor{});
  const float stored = 0.25f;
  const std::int8_t zero_point = 3;
  q.scale = Tensor::from_values<float>(DType::kFloat32, {1, 1}, {&stored, 1});
  q.zero_point = Tensor::from_values<std::int8_t>(DType::kInt8, {1, 1}, {&zero_point, 1});
  std::vector<std::int8_t> codes(2);
  std::vector<float> scale(2);
  std::vector<std::int8_t> zps(2);
  quantize_activation_int8({t.bytes(), DType::kFloat32, 2, 1, 1}, q, codes.data(), scale.data(),
                           zps.data());
  EXPECT_EQ(codes, (std::vector<std::int8_t>{7, 1}));
  EXPECT_EQ(scale, (std::vector<float>{0.25f, 0.25f}));
  EXPECT_EQ(zps, (std::vector<std::int8_t>{3, 3}));
}

TEST(FakeQuantizeInt8AsymPerToken, EqualsCodesDequantized) {
  for (const DType dtype : kFloats) {
    const Activation x = activation(dtype, 4, 300);
    std::vector<std::int8_t> codes(4 * 300);
    std::vector<float> scale(4);
    std::vector<std::int8_t> zero_point(4);
    quantize_activation_int8_asym_per_token(x.view, codes.data(), scale.data(), zero_point.data());
    Tensor out = Tensor::empty(dtype, {4, 300});
    fake_quantize_int8_asym_per_token(x.view, out.mutable_bytes());
    for (std::int64_t i = 0; i < out.numel(); ++i) {
      const float expected =
          round_to(dtype, static_cast<float>(codes[i] - zero_point[i / 300]) * scale[i / 300]);
      ASSERT_EQ(load_float(dtype, out.bytes(), i), expected);
    }
  }
}

TEST(QuantizeActivationFloat8, ScalesFollowTheGranularity) {
  const Activation x = activation(DType::kFloat32, 3, 256);
  std::vector<std::uint8_t> codes(3 * 256);
  std::vector<float> scale(6);
  for (const Granularity& granularity :
       {Granularity(PerRow{}), Granularity(PerTensor{}), Granularity(PerBlock{{1, 128}})}) {
    ActivationQuant q = quant(Kind::kFloat8Dynamic, granularity);
    q.dtype = DType::kFloat8E4M3FN;
    const std::int64_t per_row = float8_scales_per_row(q, 256);
    EXPECT_EQ(per_row, std::holds_alternative<PerBlock>(granularity) ? 2 : 1);
    quantize_activation_float8(x.view, q, codes.data(), scale.data());
    for (std::int64_t m = 0; m < 3; ++m) {
      for (std::int64_t k = 0; k < 256; ++k) {
        const float s = scale[m * per_row + k / (256 / per_row)];
        EXPECT_NEAR(decode_float(q.dtype, codes[m * 256 + k]) * s, value_at(x.view, m, k),
                    std::fabs(value_at(x.view, m, k)) / 16.0f + s);
      }
    }
  }
}

TEST(QuantizeActivationFloat8, BoundsLimitTheMaximumAndZeroRowsGiveNan) {
  const std::vector<float> values{0.0f, 0.0f, 8.0f, 1.0f};
  const Tensor t = Tensor::from_values<float>(DType::kFloat32, {2, 2}, values);
  ActivationQuant q = quant(Kind::kFloat8Dynamic, PerRow{});
  q.dtype = DType::kFloat8E4M3FN;
  std::vector<std::uint8_t> codes(4);
  std::vector<float> scale(2);
  quantize_activation_float8({t.bytes(), DType::kFloat32, 2, 2, 2}, q, codes.data(), scale.data());
  EXPECT_EQ(scale[0], 0.0f);
  EXPECT_EQ(codes[0] & 0x7f, 0x7f);
  EXPECT_EQ(decode_float(q.dtype, codes[2]), 448.0f);
  q.value_lb = 0.5;
  q.value_ub = 4.0;
  quantize_activation_float8({t.bytes(), DType::kFloat32, 2, 2, 2}, q, codes.data(), scale.data());
  EXPECT_EQ(scale, (std::vector<float>{0.5f / 448.0f, 4.0f / 448.0f}));
  EXPECT_EQ(codes[0], 0);
  EXPECT_EQ(decode_float(q.dtype, codes[2]), 448.0f);  // 8 saturates
}

TEST(QuantizeActivationFloat8, AScaleIsRoundedToItsDtype) {
  const std::vector<float> values{1.0f, 3.0f};
  const Tensor t =
      Tensor::from_values<float>(DType::kFloat32, {1, 2}, values).to(DType::kBFloat16);
  ActivationQuant q = quant(Kind::kFloat8Dynamic, PerRow{});
  q.dtype = DType::kFloat8E4M3FN;
  std::vector<std::uint8_t> codes(2);
  float scale = 0.0f;
  quantize_activation_float8({t.bytes(), DType::kBFloat16, 1, 2, 2}, q, codes.data(), &scale);
  EXPECT_EQ(scale, round_to(DType::kBFloat16, 3.0f / 448.0f));
  q.scale_dtype = DType::kFloat32;
  quantize_activation_float8({t.bytes(), DType::kBFloat16, 1, 2, 2}, q, codes.data(), &scale);
  EXPECT_EQ(scale, 3.0f / 448.0f);
  EXPECT_EQ(decode_float(q.dtype, codes[1]), 448.0f);
}

TEST(QuantizeActivationFloat8, StaticTakesTheStoredScale) {
  const Activation x = activation(DType::kBFloat16, 2, 16);
  ActivationQuant q = quant(Kind::kFloat8Static, PerTensor{});
  q.dtype = DType::kFloat8E5M2;
  const float stored = 0.5f;
  q.scale = Tensor::from_values<float>(DType::kFloat32, {1, 1}, {&stored, 1});
  std::vector<std::uint8_t> codes(32);
  std::vector<float> scale(2);
  quantize_activation_float8(x.view, q, codes.data(), scale.data());
  EXPECT_EQ(scale, (std::vector<float>{0.5f, 0.5f}));
  EXPECT_EQ(codes[17], f32_to_float8(q.dtype, value_at(x.view, 1, 1) / 0.5f));
}

TEST(QuantizeActivationMX, CodesAndFakeQuantizedValuesAgree) {
  for (const DType element : {DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat6E2M3,
                              DType::kFloat6E3M2, DType::kFloat4E2M1FNx2}) {
    for (const ScaleCalculationMode mode :
         {ScaleCalculationMode::kFloor, ScaleCalculationMode::kRceil, ScaleCalculationMode::kCeil,
          ScaleCalculationMode::kEven}) {
      const Activation x = activation(DType::kBFloat16, 3, 64);
      ActivationQuant q = quant(Kind::kMXDynamic, PerRow{});
      q.dtype = element;
      q.scaling_mode = mode;
      q.block_size = 32;
      const std::int64_t row_bytes = code_bytes(element, 64);
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(3 * row_bytes));
      std::vector<std::uint8_t> scale(6);
      quantize_activation_mx(x.view, q, codes.data(), scale.data());
      Tensor out = Tensor::empty(DType::kBFloat16, {3, 64});
      fake_quantize_mx(x.view, q, out.mutable_bytes());
      for (std::int64_t m = 0; m < 3; ++m) {
        std::vector<float> row(64);
        decode_packed(element, codes.data() + m * row_bytes, 64, row.data());
        for (std::int64_t k = 0; k < 64; ++k) {
          const float s =
              decode_float(DType::kFloat8E8M0FNU, scale[static_cast<std::size_t>(m * 2 + k / 32)]);
          ASSERT_EQ(load_float(DType::kBFloat16, out.bytes(), m * 64 + k),
                    row[static_cast<std::size_t>(k)] * s);
        }
      }
    }
  }
}

std::uint8_t mx_exponent(float value, ScaleCalculationMode mode) {
  std::vector<float> values(32, 0.0f);
  values[9] = value;
  const Tensor t = Tensor::from_values<float>(DType::kFloat32, {1, 32}, values);
  ActivationQuant q = quant(Kind::kMXDynamic, PerRow{});
  q.dtype = DType::kFloat8E4M3FN;
  q.scaling_mode = mode;
  q.block_size = 32;
  std::vector<std::uint8_t> codes(32);
  std::uint8_t scale = 0;
  quantize_activation_mx({t.bytes(), DType::kFloat32, 1, 32, 32}, q, codes.data(), &scale);
  return scale;
}

TEST(QuantizeActivationMX, ChoosesTheExponentOfItsMode) {
  EXPECT_EQ(mx_exponent(448.0f, ScaleCalculationMode::kFloor), 127);
  EXPECT_EQ(mx_exponent(511.0f, ScaleCalculationMode::kFloor), 127);
  EXPECT_EQ(mx_exponent(449.0f, ScaleCalculationMode::kCeil), 128);
  EXPECT_EQ(mx_exponent(256.0f, ScaleCalculationMode::kCeil), 127);
  EXPECT_EQ(mx_exponent(500.0f, ScaleCalculationMode::kEven), 128);
  EXPECT_EQ(mx_exponent(470.0f, ScaleCalculationMode::kEven), 127);
  EXPECT_EQ(mx_exponent(448.0f, ScaleCalculationMode::kRceil), 127);
  EXPECT_EQ(mx_exponent(449.0f, ScaleCalculationMode::kRceil), 128);
  // log2 in float32 does not see the last bits above 2^10.
  EXPECT_EQ(mx_exponent(448.0f * 0x1.000002p10f, ScaleCalculationMode::kRceil), 137);
  EXPECT_EQ(mx_exponent(448.0f * 0x1.00002p10f, ScaleCalculationMode::kRceil), 138);
}

TEST(QuantizeActivationMX, NonFiniteAndZeroBlocks) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const ScaleCalculationMode mode :
       {ScaleCalculationMode::kFloor, ScaleCalculationMode::kRceil, ScaleCalculationMode::kCeil,
        ScaleCalculationMode::kEven}) {
    EXPECT_EQ(mx_exponent(std::nanf(""), mode), 255);
    EXPECT_EQ(mx_exponent(0.0f, mode), 0);
    EXPECT_EQ(mx_exponent(kInf, mode), mode == ScaleCalculationMode::kRceil ? 254 : 247);
  }
}

TEST(QuantizeActivationNVFP4, OneAndTwoLevels) {
  std::vector<float> values(32, 0.75f);
  values[3] = 12.0f;
  values[20] = -3.0f;
  const Tensor t = Tensor::from_values<float>(DType::kFloat32, {1, 32}, values);
  const ActivationView x{t.bytes(), DType::kFloat32, 1, 32, 32};
  ActivationQuant q = quant(Kind::kNVFP4Dynamic, PerRow{});
  std::vector<std::uint8_t> codes(16);
  std::vector<std::uint8_t> scale(2);
  EXPECT_EQ(quantize_activation_nvfp4(x, q, codes.data(), scale.data()), 1.0f);
  EXPECT_EQ(decode_float(DType::kFloat8E4M3FN, scale[0]), 2.0f);
  EXPECT_EQ(decode_float(DType::kFloat8E4M3FN, scale[1]), 0.5f);
  EXPECT_EQ(codes[1] >> 4, 7);    // 12 / 2 = 6
  EXPECT_EQ(codes[10] & 15, 15);  // -3 / 0.5 = -6
  q.use_dynamic_per_tensor_scale = true;
  EXPECT_EQ(quantize_activation_nvfp4(x, q, codes.data(), scale.data()), 12.0f / 2688.0f);
  EXPECT_EQ(decode_float(DType::kFloat8E4M3FN, scale[0]), 448.0f);
  q.use_dynamic_per_tensor_scale = false;
  const float stored = 0.0625f;
  q.scale = Tensor::from_values<float>(DType::kFloat32, {}, {&stored, 1});
  EXPECT_EQ(quantize_activation_nvfp4(x, q, codes.data(), scale.data()), stored);
  EXPECT_EQ(decode_float(DType::kFloat8E4M3FN, scale[0]), 32.0f);
  std::vector<float> out(32);
  fake_quantize_nvfp4(x, q, out.data());
  EXPECT_EQ(out[3], 12.0f);
  EXPECT_EQ(out[20], -3.0f);
}

TEST(QuantizeActivation, ZeroRowsWriteNothing) {
  const ActivationView none{nullptr, DType::kBFloat16, 0, 128, 128};
  ActivationQuant q = quant(Kind::kInt8Dynamic, PerTensor{});
  quantize_activation_int8(none, q, nullptr, nullptr, nullptr);
  fake_quantize_int8_asym_per_token(none, nullptr);
  q.kind = Kind::kFloat8Dynamic;
  q.dtype = DType::kFloat8E4M3FN;
  quantize_activation_float8(none, q, nullptr, nullptr);
  q.block_size = 32;
  fake_quantize_mx(none, q, nullptr);
  q.use_dynamic_per_tensor_scale = true;
  EXPECT_EQ(quantize_activation_nvfp4(none, q, nullptr, nullptr), 0.0f);
}

}  // namespace
}  // namespace torchao_cpp
