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

}  // namespace torchao_cpp::cuda
