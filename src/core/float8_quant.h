// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "core/affine.h"
#include "torchao_cpp/tensor.h"

/// float8 with one float32 scale a block, as torchao 0.18 computes it on the CPU
/// (quant_primitives.py, _choose_scale_float8, _quantize_affine_float8, _dequantize_affine_float8).
/// There is no lower bound on the scale: an all-zero block gets scale 0 and NaN codes.
namespace torchao_cpp {

/// How the scale of a block follows from its max|x|.
struct Float8Scale {
  DType dtype =
      DType::kBFloat16;  ///< Of the values: the bounds and the quotient are rounded to it.
  DType float8_dtype = DType::kFloat8E4M3FN;  ///< float8_e4m3fn or float8_e5m2.
  std::optional<double> value_lb;             ///< Bounds of max|x| before the scale is formed.
  std::optional<double> value_ub;

  float operator()(float abs_max) const noexcept;
};

/// Codes of `count` values from `begin`: clamp(x / scale, -max, max), a float32 division, to
/// nearest even.
void quantize_float8(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                     float scale, DType float8_dtype, std::uint8_t* codes) noexcept;

/// Codes and scales of a weight.
struct Float8Quantized {
  Tensor qdata;  ///< float8 [N, K]
  Tensor scale;  ///< float32 [N / block[0], K / block[1]]
};

/// Quantizes `weight` [N, K] (float32, float16 or bfloat16); `block` divides the shape. Parallel
/// over rows of blocks.
Float8Quantized quantize_float8_weight(const Tensor& weight, const BlockSize& block,
                                       const Float8Scale& choose_scale);

/// float32(code) * scale, rounded once to `output_dtype` [N, K].
Tensor dequantize_float8_weight(const Tensor& qdata, const Tensor& scale, const BlockSize& block,
                                DType output_dtype);

}  // namespace torchao_cpp
