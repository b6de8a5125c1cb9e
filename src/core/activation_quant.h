// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quantized_weight.h"

/// Quantizes the activation of a linear row by row, bit for bit as torchao 0.18 does on the CPU.
///
/// Every function is noexcept, allocates nothing, writes only into the caller's memory, accepts
/// zero rows and runs in parallel over rows with results that do not depend on the number of
/// threads. Preconditions, which a kernel checks when it packs a weight: x is float32, float16 or
/// bfloat16; the ActivationQuant has the kind the function names; K is a multiple of its block.
namespace torchao_cpp {

/// Activation [M, K], row-major.
struct ActivationView {
  const void* data = nullptr;
  DType dtype = DType::kBFloat16;  ///< T: float32, float16 or bfloat16.
  std::int64_t rows = 0;           ///< M
  std::int64_t columns = 0;        ///< K
  std::int64_t stride = 0;         ///< Elements from one row to the next.
};

/// int8, kinds kInt8Dynamic and kInt8Static (one-element scale, zero_point or none).
/// codes [M, K]; scale [M] and zero_point [M] hold one value a row, the same one in every row for
/// PerTensor and static. Dynamic scales are chosen in T (eps 2^-23) and widened to float32.
/// Symmetric mappings give zero points 0. For kInt8Static the scale is copied from quant.scale.
/// zero_point may be null when the caller needs none.
void quantize_activation_int8(const ActivationView& x, const ActivationQuant& quant,
                              std::int8_t* codes, float* scale, std::int8_t* zero_point) noexcept;

/// Kind kInt8AsymPerToken ("int8_asym_per_token"): codes [M, K], scale [M] (float32 holding a value
/// of T; the smallest normal number of T bounds it from below) and zero_point [M].
void quantize_activation_int8_asym_per_token(const ActivationView& x, std::int8_t* codes,
                                             float* scale, std::int8_t* zero_point) noexcept;

/// The same, dequantized back to T: out [M, K], contiguous, what torchao multiplies with the
/// weight.
void fake_quantize_int8_asym_per_token(const ActivationView& x, void* out) noexcept;

/// Scales that quantize_activation_float8 writes for one row: K / 128 for PerBlock{1, 128}, else 1.
std::int64_t float8_scales_per_row(const ActivationQuant& quant, std::int64_t columns) noexcept;

/// Kinds kFloat8Dynamic and kFloat8Static, quant.dtype float8_e4m3fn or float8_e5m2: codes [M, K]
/// bytes and scale [M, float8_scales_per_row]; value = code * scale. PerTensor and static repeat
/// their one scale in every row. An all-zero block has scale 0 and NaN codes, as torchao gives it.
void quantize_activation_float8(const ActivationView& x, const ActivationQuant& quant,
                                std::uint8_t* codes, float* scale) noexcept;

/// Kind kMXDynamic, any element type and scaling mode: codes [M, code_bytes(quant.dtype, K)]
/// (core/float_runs.h) (float4: even column in the low nibble) and scale [M, K / block_size] as
/// e8m0 exponents, not swizzled.
void quantize_activation_mx(const ActivationView& x, const ActivationQuant& quant,
                            std::uint8_t* codes, std::uint8_t* scale) noexcept;

/// The same, dequantized back to T: out [M, K], contiguous, what torchao's EMULATED linear
/// multiplies with the weight.
void fake_quantize_mx(const ActivationView& x, const ActivationQuant& quant, void* out) noexcept;

/// Kind kNVFP4Dynamic: codes [M, K / 2] (even column in the low nibble), scale [M, K / 16] as e4m3
/// bytes, not swizzled. Returns the per-tensor scale: that of all M rows when
/// use_dynamic_per_tensor_scale, else quant.scale if defined, else 1 (one level). value = code *
/// (per_tensor_scale * scale).
float quantize_activation_nvfp4(const ActivationView& x, const ActivationQuant& quant,
                                std::uint8_t* codes, std::uint8_t* scale) noexcept;

/// The same, dequantized back to T: out [M, K], contiguous.
void fake_quantize_nvfp4(const ActivationView& x, const ActivationQuant& quant, void* out) noexcept;

}  // namespace torchao_cpp
