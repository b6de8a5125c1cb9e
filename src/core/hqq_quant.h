// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// 4-bit codes of half-quadratic quantization: w = (code - zero) * scale.
struct HqqGroups {
  Tensor codes;  ///< int8 [N, K], 0..15, one a byte
  Tensor scale;  ///< float32 [N, K / group_size]
  Tensor zero;   ///< float32 [N, K / group_size], not an integer in general
};

/// Quantizes `weight` [N, K] (float32, float16 or bfloat16); group_size divides K. Zeros are
/// refined by at most 20 proximal steps in float32 until the mean error of the whole tensor stops
/// falling. Sums run in another order than torch's: single codes may differ by one step. Parallel
/// over groups; the result does not depend on the number of threads. Source: torchao 0.18
/// _choose_qparams_and_quantize_affine_hqq.
HqqGroups quantize_hqq(const Tensor& weight, std::int64_t group_size);

}  // namespace torchao_cpp
