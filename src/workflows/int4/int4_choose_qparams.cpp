// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_choose_qparams.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/parallel.h"
#include "core/affine.h"
#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

// Smallest range of a group, so that constant groups keep a finite step.
constexpr float kMinRange = 1e-6f;

struct Ends {
  float lo;
  float hi;
};

// A NaN anywhere makes both ends NaN, as torch's amin and amax do.
Ends min_max(const float* w, std::int64_t count) noexcept {
  Ends e{w[0], w[0]};
  bool has_nan = false;
  for (std::int64_t i = 0; i < count; ++i) {
    e.lo = w[i] < e.lo ? w[i] : e.lo;
    e.hi = w[i] > e.hi ? w[i] : e.hi;
    has_nan |= w[i] != w[i];
  }
  if (has_nan)
    e = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
  return e;
}

float at_least(float v, float bound) noexcept { return v < bound ? bound : v; }

// clamp(round(v), lo, hi) for bounds within 16 of zero. Clamping first changes nothing and keeps v
// where rounding is cheap.
float clamp_round(float v, float lo, float hi) noexcept {
  v = v < -32.0f ? -32.0f : v;
  v = v > 32.0f ? 32.0f : v;
  const float r = round_half_even(v);
  return r < lo ? lo : (r > hi ? hi : r);
}

// NaN has no code; torch's conversion gives 0 before any offset on the reference CPU.
std::int8_t to_code(float v) noexcept {
  return v == v ? static_cast<std::int8_t>(v) : std::int8_t{0};
}

// The weight in float32 and room for the result; groups are numbered along rows.
struct Work {
  Work(const Tensor& weight, std::int64_t group)
      : w32(weight.to(DType::kFloat32)),
        w(w32.data<float>()),
        group_size(group),
        dtype(weight.dtype()) {
    const std::int64_t n = weight.shape()[0];
    const std::int64_t k = weight.shape()[1];
    groups = n * (k / group);
    out = {Tensor::empty(DType::kInt8, {n, k}), Tensor::empty(dtype, {n, k / group}),
           Tensor::empty(dtype, {n, k / group})};
    codes = out.codes.mutable_data<std::int8_t>();
    scale = out.scale.mutable_bytes();
    zero_point = out.zero_point.mutable_bytes();
  }

  template <typename F>
  void for_groups(const F& fn) const {
    parallel_for(groups, std::max<std::int64_t>(1, 16384 / group_size),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t g = begin; g < end; ++g) fn(g);
                 });
  }
  void store(std::int64_t g, float s, float z) const noexcept {
    store_float(dtype, scale, g, s);
    store_float(dtype, zero_point, g, z);
  }

  Tensor w32;
  const float* w;
  std::int64_t group_size;
  DType dtype;
  std::int64_t groups = 0;
  Int4Groups out;
  std::int8_t* codes = nullptr;
  std::byte* scale = nullptr;
  std::byte* zero_point = nullptr;
};

struct HqqGroup {
  float scale;  // codes per unit of weight: the inverse of what is stored
  float zero;
};

HqqGroup hqq_start(const float* w, std::int64_t group_size) noexcept {
  const Ends e = min_max(w, group_size);
  const float ratio = 15.0f / (e.hi - e.lo);
  // A constant group has an infinite ratio; the bound is HQQ's own.
  const float scale = ratio > 2e4f ? 2e4f : ratio;
  return {scale, std::nearbyint(-e.lo * scale)};
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

}  // namespace

Int4Groups quantize_int4_row_zp(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  work.for_groups([&work](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float s = at_least(e.hi - e.lo, kMinRange) / 15.0f;
    const float offset = s * 8.0f;
    work.store(g, s, e.lo + offset);
    for (std::int64_t i = 0; i < work.group_size; ++i) {
      work.codes[g * work.group_size + i] =
          to_code(clamp_round((w[i] - e.lo) / s, 0.0f, 15.0f) - 8.0f);
    }
  });
  return work.out;
}

Int4Groups quantize_int4_row_symmetric(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  work.for_groups([&work](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float amax = -e.lo > e.hi ? -e.lo : e.hi;
    const float s = at_least(std::fabs(amax), kMinRange) / 8.0f;
    work.store(g, s, 0.0f);
    for (std::int64_t i = 0; i < work.group_size; ++i) {
      work.codes[g * work.group_size + i] = to_code(clamp_round(w[i] / s, -8.0f, 7.0f));
    }
  });
  return work.out;
}

Int4Groups quantize_int4_tinygemm(const Tensor& weight, std::int64_t group_size) {
  const Work work(weight, group_size);
  const auto rnd = [dtype = work.dtype](float v) { return round_to(dtype, v); };
  const float eps = work.dtype == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
  work.for_groups([&work, rnd, eps](std::int64_t g) {
    const float* w = work.w + g * work.group_size;
    const Ends e = min_max(w, work.group_size);
    const float s = at_least(rnd(rnd(e.hi - e.lo) / 15.0f), eps);
    const float offset = rnd(s * 8.0f);
    const float z = rnd(e.lo + offset);
    const float lo = rnd(z - offset);
    work.store(g, s, z);
    for (std::int64_t i = 0; i < work.group_size; ++i) {
      work.codes[g * work.group_size + i] =
          to_code(clamp_round(rnd(rnd(w[i] - lo) / s), 0.0f, 15.0f));
    }
  });
  return work.out;
}

Int4Groups quantize_int4_hqq(const Tensor& weight, std::int64_t group_size) {
  constexpr int kIterations = 20;
  constexpr float kBetaGrowth = 1.01f;
  const Work work(weight, group_size);
  std::vector<HqqGroup> params(static_cast<std::size_t>(work.groups));
  std::vector<HqqStep> steps(params.size());
  work.for_groups([&](std::int64_t g) {
    params[static_cast<std::size_t>(g)] = hqq_start(work.w + g * work.group_size, work.group_size);
  });
  double beta = 10.0;
  double best_error = 1e4;
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const HqqShrink shrinkage(beta);
    work.for_groups([&](std::int64_t g) {
      const auto i = static_cast<std::size_t>(g);
      steps[i] = hqq_step(work.w + g * work.group_size, work.group_size, params[i], shrinkage);
    });
    double error = 0.0;
    for (std::size_t i = 0; i < params.size(); ++i) {
      params[i].zero = steps[i].zero;
      error += steps[i].abs_error;
    }
    beta *= kBetaGrowth;
    // torch compares the mean as a float32.
    error = static_cast<float>(error / static_cast<double>(weight.numel()));
    if (!(error < best_error)) break;
    best_error = error;
  }
  work.for_groups([&](std::int64_t g) {
    const HqqGroup p = params[static_cast<std::size_t>(g)];
    const float s = 1.0f / p.scale;
    work.store(g, s, (8.0f - p.zero) * s);
    for (std::int64_t i = g * work.group_size; i < (g + 1) * work.group_size; ++i) {
      work.codes[i] = to_code(clamp_round(work.w[i] * p.scale + p.zero, 0.0f, 15.0f));
    }
  });
  return work.out;
}

}  // namespace torchao_cpp
