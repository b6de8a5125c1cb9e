// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quant_types.h"

/// MX blocks: elements of a narrow float format that share one power-of-two scale (e8m0), as
/// torchao 0.18 computes them in float32 on the CPU (prototype/mx_formats/mx_tensor.py, to_mx and
/// to_dtype).
namespace torchao_cpp {

/// True for float8_e4m3fn, float8_e5m2, fp6_e2m3, fp6_e3m2 and float4_e2m1fn_x2.
bool is_mx_element_dtype(DType dtype) noexcept;

/// One row's quantization.
struct MXFormat {
  DType element_dtype = DType::kFloat8E4M3FN;
  ScaleCalculationMode scaling_mode = ScaleCalculationMode::kRceil;
  std::int64_t block_size = 32;  ///< Even for float4; divides the row.
};

/// The scale of one block: its e8m0 exponent (255 for NaN), what values are multiplied with before
/// they are encoded, and what decoded elements are multiplied with, in a given dtype.
struct MXBlockScale {
  std::uint8_t exponent = 0;
  float encode_factor = 1.0f;
  float decode_factor = 1.0f;
};

/// Chooses the scale of a block from its max|x|. `dtype` is that of the dequantized values.
MXBlockScale choose_mx_scale(const MXFormat& format, float abs_max, DType dtype) noexcept;

/// Quantizes `count` values (whole blocks) from `begin` of a float32, float16 or bfloat16 array:
/// codes packed as stored (float4: two a byte), one scale a block.
void quantize_mx(const MXFormat& format, DType dtype, const void* data, std::int64_t begin,
                 std::int64_t count, std::uint8_t* codes, std::uint8_t* scales) noexcept;

/// Codes and scales of whole blocks back to `dtype`: the element, times the scale, each rounded to
/// `dtype`. Writes `count` elements from `begin`.
void dequantize_mx(const MXFormat& format, const std::uint8_t* codes, const std::uint8_t* scales,
                   std::int64_t count, DType dtype, void* out, std::int64_t begin) noexcept;

}  // namespace torchao_cpp
