// SPDX-License-Identifier: Apache-2.0
#include "workflows/nf4/nf4_tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/float_formats.h"
#include "torchao_cpp/error.h"
#include "workflows/nf4/nf4_quant.h"

namespace torchao_cpp {
namespace {

Tensor wave(DType dtype, std::int64_t n, std::int64_t k) {
  Tensor t = Tensor::empty(DType::kFloat32, {n, k});
  auto v = t.mutable_span<float>();
  for (std::size_t i = 0; i < v.size(); ++i) {
    v[i] = std::sin(static_cast<float>(i) * 0.7f) * (0.3f + 0.1f * static_cast<float>(i / 64 % 5));
  }
  return t.to(dtype);
}

std::string read_kind(const TensorParts& parts) {
  try {
    NF4Tensor::from_parts(parts, "w");
  } catch (const CheckpointError& e) {
    return e.kind();
  }
  return "no error";
}

TensorParts replaced(TensorParts parts, std::string_view name, Tensor tensor) {
  for (auto& [part_name, part] : parts.parts) {
    if (part_name == name) part = std::move(tensor);
  }
  return parts;
}

TensorParts with_text(TensorParts parts, std::string_view from, std::string_view to) {
  const std::size_t at = parts.attributes.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  parts.attributes.replace(at, from.size(), to);
  return parts;
}

TEST(NF4Quant, TakesTheNearestEntryAndTheFirstOnTies) {
  Tensor w = Tensor::zeros(DType::kFloat32, {1, 8});
  const std::vector<float> values{-1.0f, 1.0f, 0.08f, -0.5f, 0.0398f, 0.9f, 0.0f, 0.4f};
  std::copy(values.begin(), values.end(), w.mutable_data<float>());
  const Tensor packed = nf4_indices(w, nf4_block_scalers(w, 8), 8);
  // 0.0398 lies as far from 0 as from 0.0796.
  const std::vector<std::uint8_t> expected{0x0f, 0x82, 0x7f, 0x7c};
  const auto got = packed.span<std::uint8_t>();
  EXPECT_EQ(std::vector<std::uint8_t>(got.begin(), got.end()), expected);
}

// torchao's own way: the distance to every entry, rounded to the dtype.
int nearest_entry(DType dtype, float value) {
  const Tensor table = nf4_table(dtype);
  int best = 0;
  float best_distance = 4.0f;
  for (int i = 0; i < 16; ++i) {
    const float entry = load_float(dtype, table.bytes(), i);
    const float distance = std::fabs(round_to(dtype, value - entry));
    if (distance < best_distance) {
      best = i;
      best_distance = distance;
    }
  }
  return best;
}

TEST(NF4Quant, TakesTheNearestEntryOfEveryQuotient) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    std::vector<float> values;
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
      const std::uint16_t half = static_cast<std::uint16_t>(bits);
      const float v = dtype == DType::kBFloat16  ? bf16_to_f32(half)
                      : dtype == DType::kFloat16 ? f16_to_f32(half)
                                                 : static_cast<float>(bits) / 32768.0f - 1.0f;
      if (std::fabs(v) <= 1.0f) values.push_back(v);
    }
    const auto count = static_cast<std::int64_t>(values.size());
    ASSERT_EQ(count % 2, 0);
    const Tensor w = Tensor::from_values<float>(DType::kFloat32, {1, count}, values).to(dtype);
    const std::vector<float> ones(values.size() / 2, 1.0f);
    const Tensor scalers = Tensor::from_values<float>(DType::kFloat32, {count / 2}, ones).to(dtype);
    const Tensor packed = nf4_indices(w, scalers, 2);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const int byte = packed.data<std::uint8_t>()[i / 2];
      ASSERT_EQ(i % 2 == 0 ? byte >> 4 : byte & 15, nearest_entry(dtype, values[i]))
          << dtype_name(dtype) << " " << values[i];
    }
  }
}

TEST(NF4Quant, ScalersAreWithinAStep) {
  const Tensor w = wave(DType::kFloat32, 64, 256);
  const Tensor scalers = nf4_block_scalers(w, 64);
  const Tensor back = dequantize_nf4_scalers(quantize_nf4_scalers(scalers, 256), 256);
  for (std::int64_t i = 0; i < scalers.numel(); ++i) {
    EXPECT_NEAR(back.data<float>()[i], scalers.data<float>()[i], 0.4f / 128.0f);
  }
}

TEST(NF4Tensor, ValuesAreNear) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    const Tensor w = wave(dtype, 64, 256);
    const Tensor back = NF4Tensor::from_hp(w)->dequantize();
    ASSERT_EQ(back.shape(), w.shape());
    ASSERT_EQ(back.dtype(), dtype);
    for (std::int64_t i = 0; i < w.numel(); ++i) {
      ASSERT_NEAR(load_float(dtype, back.bytes(), i), load_float(dtype, w.bytes(), i), 0.12f);
    }
  }
}

TEST(NF4Tensor, RoundTripsThroughParts) {
  const auto w = NF4Tensor::from_hp(wave(DType::kBFloat16, 128, 256));
  const TensorParts parts = w->to_parts();
  EXPECT_EQ(
      parts.attributes,
      R"({"block_size": 64, "n_blocks": 512, "scaler_block_size": 256, "shape": [128, 256]})");
  const auto again = NF4Tensor::from_parts(parts, "w");
  EXPECT_EQ(again->to_parts().attributes, parts.attributes);
  EXPECT_TRUE(equal_bytes(again->dequantize(), w->dequantize()));
  EXPECT_FALSE(kNF4TensorType.safetensors_serializable);
}

TEST(NF4Tensor, RefusesPartsThatDoNotFit) {
  const TensorParts good = NF4Tensor::from_hp(wave(DType::kBFloat16, 64, 256))->to_parts();
  EXPECT_EQ(read_kind(good), "no error");
  EXPECT_EQ(read_kind(with_text(good, "[64, 256]", "[64, 128]")), "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "[64, 256]", "[64]")), "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "[64, 256]", "[4611686018427387904, 4]")),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"n_blocks\": 256", "\"n_blocks\": 255")),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(with_text(good, "\"block_size\": 64", "\"block_size\": 0")),
            "ao.metadata_invalid");
  EXPECT_EQ(read_kind(with_text(good, "\"block_size\": 64", "\"block_size\": 48")),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "nf4", Tensor::zeros(DType::kBFloat16, {15}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "scaler_mean", Tensor::zeros(DType::kFloat32, {}))),
            "ao.dtype_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "quantized_scalers", Tensor::zeros(DType::kInt8, {255}))),
            "ao.shape_mismatch");
  EXPECT_EQ(read_kind(replaced(good, "quantized_data", Tensor::zeros(DType::kUInt8, {64, 128}))),
            "ao.shape_mismatch");
}

TEST(NF4Tensor, CanonicalFormGivesTheSameValues) {
  const auto w = NF4Tensor::from_hp(wave(DType::kFloat32, 64, 256));
  const QuantizedWeight q = w->to_quantized_weight();
  EXPECT_EQ(q.weight_dtype, DType::kUInt4);
  EXPECT_EQ(q.scale.shape(), (Shape{64, 4}));
  const Tensor dequantized = w->dequantize();
  for (std::int64_t i = 0; i < dequantized.numel(); ++i) {
    const int index = (q.qdata.data<std::uint8_t>()[i / 2] >> (i % 2 * 4)) & 15;
    ASSERT_EQ(q.codebook.data<float>()[index] * q.scale.data<float>()[i / 64],
              dequantized.data<float>()[i]);
  }
  const auto straddling = NF4Tensor::from_hp(wave(DType::kFloat32, 512, 32));
  EXPECT_THROW(straddling->to_quantized_weight(), UnsupportedError);
}

TEST(NF4Tensor, SlicesWholeGroupsOfRows) {
  const auto w = NF4Tensor::from_hp(wave(DType::kBFloat16, 192, 256));
  EXPECT_TRUE(equal_bytes(w->slice(0, 64, 192)->dequantize(), w->dequantize().narrow(0, 64, 128)));
  EXPECT_THROW(w->slice(0, 32, 96), ShapeError);
  EXPECT_THROW(w->slice(1, 0, 64), ShapeError);
}

TEST(NF4Tensor, StacksRowsUnderOneMean) {
  const auto w = NF4Tensor::from_hp(wave(DType::kBFloat16, 128, 256));
  const std::vector<WeightTensorPtr> parts{w->slice(0, 64, 128), w};
  const auto stacked = parts[0]->concat_rows(parts);
  ASSERT_NE(stacked, nullptr);
  EXPECT_TRUE(equal_bytes(stacked->dequantize().narrow(0, 64, 128), w->dequantize()));
  Tensor larger = wave(DType::kFloat32, 64, 256);
  for (float& v : larger.mutable_span<float>()) v *= 2.0f;
  const std::vector<WeightTensorPtr> other_mean{w, NF4Tensor::from_hp(larger.to(DType::kBFloat16))};
  EXPECT_EQ(w->concat_rows(other_mean), nullptr);
}

TEST(NF4Tensor, RefusesSizesThatLeaveARest) {
  EXPECT_THROW(NF4Tensor::from_hp(wave(DType::kFloat32, 63, 256)), ShapeError);
  EXPECT_THROW(NF4Tensor::from_hp(wave(DType::kFloat32, 4, 33)), ShapeError);
}

}  // namespace
}  // namespace torchao_cpp
