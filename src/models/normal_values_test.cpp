// SPDX-License-Identifier: Apache-2.0
#include "models/normal_values.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

double cumulative(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

Tensor normal(DType dtype, std::int64_t count, std::uint64_t key, double deviation = 1) {
  Tensor out = Tensor::empty(dtype, {count});
  fill_normal(out, deviation, key);
  return out;
}

TEST(NormalQuantile, InvertsTheCumulativeDistribution) {
  for (double p = 1e-9; p < 1; p = p < 0.01 ? p * 1.7 : p + 0.0097) {
    const double x = normal_quantile(p);
    EXPECT_NEAR(cumulative(x) / p, 1, 1e-7) << p;
    EXPECT_NEAR(normal_quantile(1 - p), -x, 1e-6 * std::abs(x) + 1e-9) << p;
  }
  EXPECT_EQ(normal_quantile(0.5), 0);
}

TEST(FillNormal, HasTheMomentsAndTails) {
  constexpr std::int64_t kCount = 1'000'003;
  constexpr double kDeviation = 0.02;
  const Tensor values = normal(DType::kFloat32, kCount, normal_key(7, "a.weight"), kDeviation);
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  std::int64_t beyond_two = 0;
  std::int64_t beyond_four = 0;
  for (const float value : values.span<float>()) {
    const double z = value / kDeviation;
    sum += z;
    squares += z * z;
    fourths += z * z * z * z;
    beyond_two += std::abs(z) > 2 ? 1 : 0;
    beyond_four += std::abs(z) > 4 ? 1 : 0;
  }
  // Five standard errors each.
  EXPECT_NEAR(sum / kCount, 0, 5e-3);
  EXPECT_NEAR(squares / kCount, 1, 7.1e-3);
  EXPECT_NEAR(fourths / kCount, 3, 5e-2);
  EXPECT_NEAR(static_cast<double>(beyond_two) / kCount, 0.0455, 1.1e-3);
  EXPECT_NEAR(static_cast<double>(beyond_four), 63, 40);
}

TEST(FillNormal, DependsOnTheKeyAndTheIndexAlone) {
  const std::uint64_t key = normal_key(0, "model.embed_tokens.weight");
  const int before = num_threads();
  set_num_threads(1);
  const Tensor one = normal(DType::kBFloat16, 100'001, key);
  const Tensor shorter = normal(DType::kBFloat16, 5'000, key);
  for (const int threads : {2, 3, 7}) {
    set_num_threads(threads);
    EXPECT_TRUE(equal_bytes(normal(DType::kBFloat16, 100'001, key), one)) << threads;
  }
  set_num_threads(before);
  EXPECT_TRUE(equal_bytes(one.narrow(0, 0, 5'000), shorter));
  EXPECT_TRUE(equal_bytes(normal(DType::kFloat32, 5'000, key).to(DType::kBFloat16), shorter));
  EXPECT_FALSE(equal_bytes(
      normal(DType::kBFloat16, 5'000, normal_key(1, "model.embed_tokens.weight")), shorter));
  EXPECT_FALSE(
      equal_bytes(normal(DType::kBFloat16, 5'000, normal_key(0, "lm_head.weight")), shorter));
}

}  // namespace
}  // namespace torchao_cpp
