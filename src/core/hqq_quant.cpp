// SPDX-License-Identifier: Apache-2.0
#include "core/hqq_quant.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "core/affine.h"

namespace torchao_cpp {
namespace {

constexpr int kIterations = 20;
constexpr double kBetaStart = 10.0;
constexpr double kBetaGrowth = 1.01f;

struct HqqGroup {
  float scale;  // codes per unit of weight: the inverse of what is stored
  float zero;
};

HqqGroup hqq_start(const float* w, std::int64_t group_size) noexcept {
  float lo = 0.0f;
  float hi = 0.0f;
  block_min_max(DType::kFloat32, w, 0, group_size, lo, hi);
  const float ratio = 15.0f / (hi - lo);
  // A constant group has an infinite ratio; the bound is HQQ's own.
  const float scale = ratio > 2e4f ? 2e4f : ratio;
  return {scale, std::nearbyint(-lo * scale)};
}

struct HqqShrink {
  explicit HqqShrink(double beta)
      : inverse_beta(static_cast<float>(1.0 / beta)),
        dead_zone(0.99f * std::pow(inverse_beta, 1.0f / 1.3f)) {}
  float inverse_beta;
  float dead_zone;  // safely below the |d| where the result leaves zero; spares the power for
                    // nearly every weight
};

// sign(d) * relu(|d| - |d|^(p - 1) / beta) with p = 0.7. At d = 0 the power is infinite and the
// result 0.
float shrink(float d, const HqqShrink& s) noexcept {
  const float a = std::fabs(d);
  if (a < s.dead_zone) return 0.0f;
  const float kept = a - s.inverse_beta * std::pow(a, -0.3f);
  if (!(kept > 0.0f)) return kept != kept ? kept : 0.0f;
  return d > 0.0f ? kept : -kept;
}

struct HqqStep {
  float zero;
  double abs_error;
};

HqqStep hqq_step(const float* w, std::int64_t group_size, HqqGroup g,
                 const HqqShrink& shrinkage) noexcept {
  double zero_sum = 0.0;
  double error_sum = 0.0;
  for (std::int64_t i = 0; i < group_size; ++i) {
    const float q = clamp_round(w[i] * g.scale + g.zero, 0.0f, 15.0f);
    const float d = w[i] - (q - g.zero) / g.scale;
    zero_sum += q - (w[i] - shrink(d, shrinkage)) * g.scale;
    error_sum += std::fabs(d);
  }
  return {static_cast<float>(zero_sum / static_cast<double>(group_size)), error_sum};
}

template <typename F>
void for_groups(std::size_t groups, std::int64_t group_size, const F& fn) {
  parallel_for(static_cast<std::int64_t>(groups), std::max<std::int64_t>(1, 16384 / group_size),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t g = begin; g < end; ++g) fn(static_cast<std::size_t>(g));
               });
}

std::vector<HqqGroup> fit(const float* w, std::size_t groups, std::int64_t group_size) {
  const auto values_of = [w, group_size](std::size_t g) {
    return w + static_cast<std::int64_t>(g) * group_size;
  };
  std::vector<HqqGroup> params(groups);
  std::vector<HqqStep> steps(groups);
  for_groups(groups, group_size,
             [&](std::size_t g) { params[g] = hqq_start(values_of(g), group_size); });
  double beta = kBetaStart;
  double best_error = 1e4;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const HqqShrink shrinkage(beta);
    for_groups(groups, group_size, [&](std::size_t g) {
      steps[g] = hqq_step(values_of(g), group_size, params[g], shrinkage);
    });
    double error = 0.0;
    for (std::size_t g = 0; g < groups; ++g) {
      params[g].zero = steps[g].zero;
      error += steps[g].abs_error;
    }
    beta *= kBetaGrowth;
    // torch compares the mean as a float32.
    const double numel = static_cast<double>(groups) * static_cast<double>(group_size);
    error = static_cast<float>(error / numel);
    if (!(error < best_error)) break;
    best_error = error;
  }
  return params;
}

}  // namespace

HqqGroups quantize_hqq(const Tensor& weight, std::int64_t group_size) {
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const Tensor w32 = weight.to(DType::kFloat32);
  const float* w = w32.data<float>();
  HqqGroups out{Tensor::empty(DType::kInt8, {n, k}),
                Tensor::empty(DType::kFloat32, {n, k / group_size}),
                Tensor::empty(DType::kFloat32, {n, k / group_size})};
  auto* codes = out.codes.mutable_data<std::int8_t>();
  auto* scale = out.scale.mutable_data<float>();
  auto* zero = out.zero.mutable_data<float>();
  const std::vector<HqqGroup> params =
      fit(w, static_cast<std::size_t>(out.scale.numel()), group_size);
  for_groups(params.size(), group_size, [&](std::size_t g) {
    const HqqGroup p = params[g];
    const auto first = static_cast<std::int64_t>(g) * group_size;
    scale[g] = 1.0f / p.scale;
    zero[g] = p.zero;
    for (std::int64_t i = first; i < first + group_size; ++i)
      codes[i] = code_from_float(clamp_round(w[i] * p.scale + p.zero, 0.0f, 15.0f));
  });
  return out;
}

}  // namespace torchao_cpp
