// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "torchao_cpp/dtype.h"

/// NVFP4: blocks of 16 fp4 (e2m1) values with a float8_e4m3fn scale each and, with two levels, one
/// float32 scale for the whole tensor, as torchao 0.18 computes them in float32 on the CPU
/// (prototype/mx_formats/nvfp4_tensor.py, nvfp4_quantize and NVFP4Tensor.dequantize).
namespace torchao_cpp {

inline constexpr std::int64_t kNVFP4BlockSize = 16;

/// The per-tensor scale of a tensor with this max|x|: / (448 * 6).
float nvfp4_per_tensor_scale(float abs_max) noexcept;

/// Quantizes `count` values (whole blocks) from `begin` of a float32, float16 or bfloat16 array:
/// codes two a byte (even column in the low nibble), one e4m3 scale a block. Without a per-tensor
/// scale the one level keeps scales down to 2^-6. A per-tensor scale of 0 (all-zero tensor) gives
/// NaN scales, as torchao's.
void quantize_nvfp4(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                    std::optional<float> per_tensor_scale, std::uint8_t* codes,
                    std::uint8_t* scales) noexcept;

/// Codes and scales of whole blocks back to `dtype`: code * (per_tensor_scale * scale), rounded
/// once. Writes `count` elements from `begin`. `per_tensor_scale` is 1 for one level.
void dequantize_nvfp4(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t count,
                      float per_tensor_scale, DType dtype, void* out, std::int64_t begin) noexcept;

}  // namespace torchao_cpp
