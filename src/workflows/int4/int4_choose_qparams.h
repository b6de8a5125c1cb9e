// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

/// The ways torchao chooses groupwise int4 codes. All take `weight` [N, K] (float32, float16
/// or bfloat16) with group_size dividing K (even), run in parallel over rows, and give the same result for
/// any number of threads.
namespace torchao_cpp {

/// Codes and per-group parameters of a weight [N, K].
struct Int4Groups {
  Tensor codes;       ///< int8; form and range are said where they are made.
  Tensor scale;       ///< [N, K / group_size], the weight's dtype
  Tensor zero_point;  ///< [N, K / group_size], the weight's dtype; w = code' * scale + zero_point
};

/// Int4Tensor for bfloat16 activations: range max - min (at least 1e-6) over 15 steps, codes -8..7
/// in nibbles [N, K/2] (int4_packing.h), all in float32, codes from the unrounded values. Source: MSLK's int4_row_quantize_zp, which
/// torchao 0.18 Int4Tensor.from_hp calls.
Int4Groups quantize_int4_row_zp(const Tensor& weight, std::int64_t group_size);

/// Int4Tensor for float8 activations: symmetric, max|w| (at least 1e-6) over 8, codes -8..7
/// in nibbles [N, K/2], zero_point 0. Source: MSLK's int4_row_quantize.
Int4Groups quantize_int4_row_symmetric(const Tensor& weight, std::int64_t group_size);

/// Int4PreshuffledTensor for bfloat16 activations: quantize_int4_row_zp as a GPU computes it, where
/// torch divides by 15 as a product with the float32 nearest 1/15; scale and zero_point bfloat16.
Int4Groups quantize_int4_row_zp_gpu(const Tensor& weight, std::int64_t group_size);

/// tinygemm: codes 0..15 [N, K], one a byte, with w = (code - 8) * scale + zero_point; every step rounded to the
/// weight's dtype; the minimum is recovered from zero_point and scale before the codes are formed.
/// Source: torchao 0.18 _choose_qparams_affine_tinygemm, _quantize_affine_tinygemm.
Int4Groups quantize_int4_tinygemm(const Tensor& weight, std::int64_t group_size);

/// Half-quadratic quantization: as tinygemm, with zero points refined by at most 20 proximal steps
/// in float32 until the mean error of the whole tensor stops falling. Sums run in another order
/// than torch's: single codes may differ by one step. Source: torchao 0.18
/// _choose_qparams_and_quantize_affine_hqq.
Int4Groups quantize_int4_hqq(const Tensor& weight, std::int64_t group_size);

}  // namespace torchao_cpp
