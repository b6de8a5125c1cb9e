// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/activation.h"
#include "kernels/cuda/rounding.cuh"

/// The range of an activation's values, and the scale that follows from it.
namespace torchao_cpp::cuda {
namespace {

constexpr int kActivationThreads = 256;

/// Smallest and largest, or max |x| in both; a NaN stays.
struct Ends {
  float lo = 0.0f;
  float hi = 0.0f;
};

__device__ float nan_min(float a, float b) { return a != a ? a : (b != b ? b : (b < a ? b : a)); }
__device__ float nan_max(float a, float b) { return a != a ? a : (b != b ? b : (b > a ? b : a)); }
__device__ Ends joined(Ends a, Ends b) { return {nan_min(a.lo, b.lo), nan_max(a.hi, b.hi)}; }

__device__ Ends ends_of_warp(Ends e) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    e = joined(e, {__shfl_xor_sync(0xffffffffu, e.lo, offset),
                   __shfl_xor_sync(0xffffffffu, e.hi, offset)});
  }
  return e;
}

// The ends of all threads, for all of them. Once in a kernel.
template <int kBlockThreads = kActivationThreads>
__device__ Ends ends_of_block(Ends e) {
  constexpr int kWarps = kBlockThreads / 32;
  __shared__ Ends warps[kWarps];
  e = ends_of_warp(e);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = e;
  __syncthreads();
  return ends_of_warp(warps[threadIdx.x % kWarps]);
}

__device__ float abs_max(Ends e) { return nan_max(-e.lo, e.hi); }

/// Scale and zero point of int8 codes.
struct Int8Scale {
  float scale;
  int zero_point;
};

__device__ Int8Scale choose_int8_scale(const ActivationPlan& plan, Ends e) {
  if (plan.is_static) return {plan.static_scale, plan.static_zero_point};
  const ValueRounding t = plan.compute;
  const auto code_min = static_cast<float>(plan.code_min);
  const auto code_max = static_cast<float>(plan.code_max);
  float scale = 0.0f;
  if (plan.mapping == MappingType::kSymmetric) {
    scale = round_value(t, abs_max(e) / ((code_max - code_min) / 2.0f));
  } else if (plan.mapping == MappingType::kSymmetricNoClippingErr) {
    const float from_lo = round_value(t, e.lo / code_min);
    const float from_hi = round_value(t, e.hi / code_max);
    scale = from_lo > from_hi ? from_lo : from_hi;
  } else {
    scale = round_value(t, round_value(t, e.hi - e.lo) / (code_max - code_min));
  }
  scale = scale < plan.eps ? plan.eps : scale;
  if (plan.mapping != MappingType::kAsymmetric) return {scale, 0};
  float zero = round_value(t, code_min - rintf(round_value(t, e.lo / scale)));
  zero = zero < code_min ? code_min : (zero > code_max ? code_max : zero);
  return {scale, zero == zero ? static_cast<int>(zero) : 0};
}

// `reciprocal` and the product are values of `product`.
__device__ int int8_code(const ActivationPlan& plan, ValueRounding product, float v,
                         float reciprocal, int zero_point) {
  const float r = round_value(product, v * reciprocal);
  if (r != r) return 0;
  const auto lo = static_cast<float>(plan.code_min - zero_point);
  const auto hi = static_cast<float>(plan.code_max - zero_point);
  return static_cast<int>(rintf(r < lo ? lo : (r > hi ? hi : r))) + zero_point;
}

__device__ float choose_float8_scale(const ActivationPlan& plan, float largest) {
  if (plan.is_static) return plan.static_scale;
  if (plan.has_lower_bound && largest < plan.lower_bound) largest = plan.lower_bound;
  if (plan.has_upper_bound && largest > plan.upper_bound) largest = plan.upper_bound;
  return round_value(plan.scale_dtype, largest / plan.element.max_value);
}

}  // namespace
}  // namespace torchao_cpp::cuda
