// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

Tensor ramp(DType dtype, Shape shape, float first, float step) {
  Tensor t = Tensor::empty(dtype, std::move(shape));
  for (std::int64_t i = 0; i < t.numel(); ++i)
    store_float(dtype, t.mutable_bytes(), i, first + step * static_cast<float>(i));
  return t;
}

float at(const Tensor& t, std::int64_t i) { return load_float(t.dtype(), t.bytes(), i); }

RowView rows_of(const Tensor& t) { return {t.bytes(), t.size(1)}; }

class DecoderOps : public testing::TestWithParam<DType> {};

TEST_P(DecoderOps, RmsNormRoundsBeforeItMultipliesWithTheWeight) {
  const DType dtype = GetParam();
  const Tensor x = ramp(dtype, {3, 19}, -1.7f, 0.11f);
  const Tensor weight = ramp(dtype, {19}, 0.4f, 0.07f);
  Tensor y = Tensor::zeros(dtype, {3, 19});
  rms_norm(weight, 1e-6f, x.bytes(), 3, y.mutable_bytes());
  for (std::int64_t r = 0; r < 3; ++r) {
    double squares = 0;
    for (std::int64_t i = 0; i < 19; ++i)
      squares += std::pow(static_cast<double>(at(x, r * 19 + i)), 2);
    const auto scale = static_cast<float>(1.0 / std::sqrt(squares / 19 + 1e-6));
    for (std::int64_t i = 0; i < 19; ++i) {
      const float want =
          round_to(dtype, at(weight, i) * round_to(dtype, at(x, r * 19 + i) * scale));
      EXPECT_NEAR(at(y, r * 19 + i), want, dtype == DType::kFloat32 ? 1e-6 : 0.0) << r << " " << i;
    }
  }
}

TEST_P(DecoderOps, LayerNormRoundsOnce) {
  const DType dtype = GetParam();
  for (const std::int64_t n : {3, 19, 64}) {
    // A mean far from zero: squares alone would cancel.
    const Tensor x = ramp(dtype, {2, n}, 40.0f, 0.25f);
    const NormWeights norm{ramp(dtype, {n}, 0.4f, 0.0625f), ramp(dtype, {n}, -1.0f, 0.125f)};
    Tensor y = Tensor::zeros(dtype, {2, n});
    Tensor bare = x.clone();
    layer_norm(dtype, norm, 1e-5f, x.bytes(), 2, n, y.mutable_bytes());
    layer_norm(dtype, {}, 1e-5f, bare.bytes(), 2, n, bare.mutable_bytes());
    for (std::int64_t r = 0; r < 2; ++r) {
      double mean = 0;
      for (std::int64_t i = 0; i < n; ++i) mean += static_cast<double>(at(x, r * n + i));
      mean /= static_cast<double>(n);
      double squares = 0;
      for (std::int64_t i = 0; i < n; ++i)
        squares += std::pow(static_cast<double>(at(x, r * n + i)) - mean, 2);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
      for (std::int64_t i = 0; i < n; ++i) {
        const double v = (static_cast<double>(at(x, r * n + i)) - mean) * scale;
        const double want =
            v * static_cast<double>(at(norm.weight, i)) + static_cast<double>(at(norm.bias, i));
        // Half a unit in the last place, and what float32 adds.
        const double step = dtype == DType::kBFloat16  ? 0x1p-8
                            : dtype == DType::kFloat16 ? 0x1p-11
                                                       : 0;
        EXPECT_NEAR(at(y, r * n + i), want, 1.01 * step * std::fabs(want) + 1e-5) << r << " " << i;
        EXPECT_NEAR(at(bare, r * n + i), v, 1.01 * step * std::fabs(v) + 1e-5) << r << " " << i;
      }
    }
  }
}

TEST_P(DecoderOps, ReluKeepsWhatIsAboveZero) {
  const DType dtype = GetParam();
  Tensor x = ramp(dtype, {37}, -2.0f, 0.25f).clone();
  store_float(dtype, x.mutable_bytes(), 36, NAN);
  const Tensor before = x.clone();
  relu_in_place(dtype, x.mutable_bytes(), 37);
  for (std::int64_t i = 0; i < 36; ++i) EXPECT_EQ(at(x, i), std::max(at(before, i), 0.0f)) << i;
  EXPECT_TRUE(std::isnan(at(x, 36)));
}

TEST_P(DecoderOps, PositionsAreAddedByTheirRow) {
  const DType dtype = GetParam();
  const Tensor table = ramp(dtype, {7, 5}, 1.0f, 0.125f);
  Tensor hidden = ramp(dtype, {2, 5}, 0.0f, 0.001f).clone();
  const Tensor before = hidden.clone();
  const std::vector<TokenPlace> places{{nullptr, 4}, {nullptr, 0}};
  add_positions(table, 2, places, hidden.mutable_bytes());
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(at(hidden, i), round_to(dtype, at(before, i) + at(table, 6 * 5 + i)));
    EXPECT_EQ(at(hidden, 5 + i), round_to(dtype, at(before, 5 + i) + at(table, 2 * 5 + i)));
  }
}

TEST_P(DecoderOps, HeadsThatDoNotRotateAreKept) {
  const DType dtype = GetParam();
  HeadTransform heads{2, 1, 5, {}, {}, 0};
  heads.rotates = false;
  KvCache cache(dtype, 1, 1, 5, 8);
  const Tensor q = ramp(dtype, {1, 10}, 0.5f, 0.25f);
  const Tensor k = ramp(dtype, {1, 5}, -1.0f, 0.5f);
  std::vector<float> out(10);
  const std::vector<TokenPlace> places{{&cache, 3}};
  transform_qkv(heads, nullptr, {rows_of(q), rows_of(k), rows_of(k)}, places, 0, out.data());
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_EQ(out[static_cast<std::size_t>(i)], at(q, i)) << i;
  for (std::int64_t i = 0; i < 5; ++i)
    EXPECT_EQ(load_float(dtype, cache.keys(0, 0), i * KvCache::kBlock + 3), at(k, i)) << i;
}

TEST_P(DecoderOps, SiluMulRoundsTheActivationFirst) {
  const DType dtype = GetParam();
  const Tensor both = ramp(dtype, {2, 10}, -2.0f, 0.3f);  // gate in columns 0..4, up in 5..9
  Tensor y = Tensor::zeros(dtype, {2, 5});
  const RowView up{both.bytes() + 5 * dtype_size_bytes(dtype), 10};
  silu_mul(dtype, rows_of(both), up, 2, 5, y.mutable_bytes());
  for (std::int64_t r = 0; r < 2; ++r) {
    for (std::int64_t i = 0; i < 5; ++i) {
      const float g = at(both, r * 10 + i);
      const float silu = round_to(dtype, g / (1.0f + std::exp(-g)));
      const float want = round_to(dtype, silu * at(both, r * 10 + 5 + i));
      // The exponential is good to two units in the last place of float32.
      EXPECT_NEAR(at(y, r * 5 + i), want, dtype == DType::kFloat32 ? 4e-7 * std::fabs(want) : 0.0);
    }
  }
}

TEST_P(DecoderOps, AddAndWiden) {
  const DType dtype = GetParam();
  Tensor x = ramp(dtype, {3, 3}, 0.0f, 0.25f).clone();
  const Tensor y = ramp(dtype, {3, 3}, 1.0f, 0.001f);
  const Tensor before = x.clone();
  add_in_place(dtype, x.mutable_bytes(), y.bytes(), 9);
  std::vector<float> wide(9);
  widen(dtype, x.bytes(), 9, wide.data());
  for (std::int64_t i = 0; i < 9; ++i)
    EXPECT_EQ(wide[static_cast<std::size_t>(i)], round_to(dtype, at(before, i) + at(y, i)));
}

TEST_P(DecoderOps, RotationTurnsPairsHalfAHeadApart) {
  const DType dtype = GetParam();
  const HeadTransform heads{2, 1, 4, {}, {}, 0};
  const RotaryEmbedding rope({}, 4, 8, dtype, "test");
  KvCache cache(dtype, 1, 1, 4, 8);
  const Tensor q = ramp(dtype, {1, 8}, 0.5f, 0.25f);
  const Tensor k = ramp(dtype, {1, 4}, -1.0f, 0.5f);
  std::vector<float> out(8);
  const std::vector<TokenPlace> places{{&cache, 3}};
  transform_qkv(heads, &rope, {rows_of(q), rows_of(k), rows_of(k)}, places, 0, out.data());
  const float cos = rope.cos(3)[1];
  const float sin = rope.sin(3)[1];
  const auto turned = [&](float a, float b) {
    return round_to(dtype, round_to(dtype, a * cos) - round_to(dtype, b * sin));
  };
  EXPECT_EQ(out[5], turned(at(q, 5), at(q, 7)));
  // Keys: position 3 of a block is column 3 of [head_dim, kBlock]; values are untouched.
  EXPECT_EQ(load_float(dtype, cache.keys(0, 0), 1 * KvCache::kBlock + 3),
            turned(at(k, 1), at(k, 3)));
  EXPECT_EQ(load_float(dtype, cache.values(0, 0), 3 * 4 + 2), at(k, 2));
}

INSTANTIATE_TEST_SUITE_P(DTypes, DecoderOps,
                         testing::Values(DType::kFloat32, DType::kFloat16, DType::kBFloat16));

}  // namespace
}  // namespace torchao_cpp
