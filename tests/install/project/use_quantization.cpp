// SPDX-License-Identifier: Apache-2.0
// Quantizes a weight by a shorthand, runs the linear and checks it against the weight it came from.
#include <cmath>
#include <cstdio>
#include <vector>

#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

int main() {
  using namespace torchao_cpp;
  constexpr std::int64_t n = 8;
  constexpr std::int64_t k = 64;
  std::vector<float> values(n * k);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  const Tensor weight = Tensor::from_values<float>(DType::kFloat32, {n, k}, values);

  const ConfigPtr config = config_from_shorthand("int8wo");
  if (!config) return std::puts("the shorthand int8wo is unknown"), 1;
  const QuantizeOutcome outcome = quantize_tensor(weight, *config);
  if (!outcome.weight) return std::printf("not quantized: %s\n", outcome.reason.c_str()), 1;

  const Linear linear(LoadedWeight{{}, outcome.weight}, DType::kFloat32);
  const std::vector<float> ones(k, 1.0F);
  const Tensor y = linear(Tensor::from_values<float>(DType::kFloat32, {1, k}, ones));
  for (std::int64_t row = 0; row < n; ++row) {
    float expected = 0;
    for (std::int64_t col = 0; col < k; ++col) expected += values[static_cast<std::size_t>(row * k + col)];
    // Each of the K weights is off by at most half a step of about 1/127.
    const float bound = 0.5F * k / 127.0F;
    const float actual = y.data<float>()[row];
    if (!(std::fabs(actual - expected) <= bound)) {
      return std::printf("row %d: %g, expected %g\n", static_cast<int>(row), actual, expected), 1;
    }
  }
  std::printf("quantization ok (%s)\n", std::string(linear.kernel_name()).c_str());
  return 0;
}
