// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/hqq_scale_only.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

constexpr float kEps = 0x1p-23f;
constexpr int kIterations = 20;
constexpr float kEarlyStop = 1e-5f;

float at_least_eps(float v) noexcept { return v < kEps ? kEps : v; }

// A true division here, where the affine primitives multiply by the reciprocal.
float code_of(float w, float scale, QuantRange range) noexcept {
  const float v = std::nearbyint(w / scale);
  const float lo = static_cast<float>(range.min);
  const float hi = static_cast<float>(range.max);
  return v < lo ? lo : (v > hi ? hi : v);
}

// One least-squares step for one group; keeps `previous` where every code is zero.
float refit(const float* w, std::int64_t group_size, float scale, float previous,
            QuantRange range) noexcept {
  double num = 0.0;
  double den = 0.0;
  for (std::int64_t i = 0; i < group_size; ++i) {
    const double q = code_of(w[i], scale, range);
    num += static_cast<double>(w[i]) * q;
    den += q * q;
  }
  const float fitted = den > 0.0 ? static_cast<float>(num) / static_cast<float>(den) : previous;
  return at_least_eps(fitted);
}

}  // namespace

HqqScaleOnly quantize_hqq_scale_only(const Tensor& weight, std::int64_t group_size,
                                     QuantRange range) {
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t groups = n * (k / group_size);
  const Tensor w32 = weight.to(DType::kFloat32);
  const float* w = w32.data<float>();
  const float largest = static_cast<float>(std::max(std::abs(range.min), std::abs(range.max)));
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / group_size);

  std::vector<float> scale(static_cast<std::size_t>(groups));
  std::vector<float> change(scale.size());
  parallel_for(groups, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      float amax = 0.0f;
      for (std::int64_t i = g * group_size; i < (g + 1) * group_size; ++i) {
        const float a = std::fabs(w[i]);
        amax = a > amax || a != a ? a : amax;
        if (amax != amax) break;
      }
      scale[static_cast<std::size_t>(g)] = at_least_eps(amax / largest);
    }
  });
  std::vector<float> previous = scale;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    parallel_for(groups, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t g = begin; g < end; ++g) {
        const auto i = static_cast<std::size_t>(g);
        scale[i] = refit(w + g * group_size, group_size, scale[i], previous[i], range);
        change[i] = std::fabs(scale[i] - previous[i]) / at_least_eps(previous[i]);
      }
    });
    const bool moved =
        std::any_of(change.begin(), change.end(), [](float c) { return !(c < kEarlyStop); });
    if (!moved) break;
    previous = scale;
  }

  HqqScaleOnly out{Tensor::empty(DType::kInt8, {n, k}),
                   Tensor::empty(weight.dtype(), {n, k / group_size})};
  auto* codes = out.qdata.mutable_data<std::int8_t>();
  std::byte* scales = out.scale.mutable_bytes();
  parallel_for(groups, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t g = begin; g < end; ++g) {
      const float s = scale[static_cast<std::size_t>(g)];
      for (std::int64_t i = g * group_size; i < (g + 1) * group_size; ++i) {
        const float q = code_of(w[i], s, range);
        codes[i] = q == q ? static_cast<std::int8_t>(q) : std::int8_t{0};
      }
      store_float(weight.dtype(), scales, g, s);
    }
  });
  return out;
}

}  // namespace torchao_cpp
