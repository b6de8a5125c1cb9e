// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/rounding.cuh"
#include "kernels/epilogue.h"

namespace torchao_cpp::cuda {

/// One sum to the value of one output, as kernels/epilogue.h lists the steps. Pointers are the
/// device's.
template <typename Sum>
__device__ inline float finished_value(const Epilogue& e, const EpilogueArgs& args, Sum sum,
                                       std::int64_t m, std::int64_t n) {
  const float row_scale = args.row_scale != nullptr ? args.row_scale[m] : 1.0f;
  float v = static_cast<float>(sum);
  if (e.rounds_sum) v = round_value(e.compute, v);
  v *= row_scale;
  if (e.rounds_scaled) v = round_value(e.compute, v);
  if (e.has_code_zero) {
    const float zero = static_cast<float>(args.zero_point[m]) * row_scale;
    v = round_value(e.compute,
                    v - round_value(e.compute, zero * static_cast<float>(e.code_sums[n])));
  }
  if (e.column_scale != nullptr) v *= e.column_scale[n];
  if (args.bias != nullptr) {
    if (e.rounds_before_bias) v = round_value(e.compute, v);
    v += round_value(e.compute, load_value(e.output, args.bias, n));
  }
  return round_value(e.compute, v);
}

template <typename Sum>
__device__ inline void finish_sum(const Epilogue& e, const EpilogueArgs& args, Sum sum,
                                  std::int64_t m, std::int64_t n) {
  store_value(e.output, args.y, m * args.y_stride + n, finished_value(e, args, sum, m, n));
}

/// The same for outputs n .. n + 8 of a row, of which those before `end` exist, of dtype T. Each
/// step takes all eight, so that its choice is made once.
template <typename T>
__device__ inline void finish_eight(const Epilogue& e, const EpilogueArgs& args, float (&v)[8],
                                    std::int64_t m, std::int64_t n, std::int64_t end) {
  const auto round = [&] {
#pragma unroll
    for (float& value : v) value = round_value(e.compute, value);
  };
  if (e.rounds_sum) round();
  if (args.row_scale != nullptr) {
#pragma unroll
    for (float& value : v) value *= args.row_scale[m];
  }
  if (e.rounds_scaled) round();
  const bool is_whole = n + 8 <= end;
  if (e.column_scale != nullptr) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] *= e.column_scale[is_whole ? n + i : min(n + i, end - 1)];
  }
  if (args.bias != nullptr) {
    if (e.rounds_before_bias) round();
    const T* bias = static_cast<const T*>(args.bias);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      v[i] += round_value(e.compute, to_float(bias[is_whole ? n + i : min(n + i, end - 1)]));
  }
  round();
  T* y = static_cast<T*>(args.y) + m * args.y_stride + n;
  if (is_whole && reinterpret_cast<std::uintptr_t>(y) % 16 == 0) return store8(y, v);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (n + i < end) y[i] = from_float<T>(v[i]);
  }
}

}  // namespace torchao_cpp::cuda
