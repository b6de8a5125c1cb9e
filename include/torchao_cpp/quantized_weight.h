// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quant_types.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// How a linear quantizes its activation before the product.
struct ActivationQuant {
  enum class Kind : std::uint8_t {
    kNone,              ///< Weight-only: the activation stays in its dtype.
    kInt8Dynamic,       ///< int8 codes, integer product (torchao Int8Tensor with act_quant_kwargs).
    kInt8Static,        ///< As above with a stored scale and zero point.
    kInt8AsymPerToken,  ///< int8 asymmetric per token, dequantized again, float product (torchao Intx "8da").
    kFloat8Dynamic,     ///< float8 codes, scaled product.
    kFloat8Static,      ///< As above with a stored scale.
    kMXDynamic,         ///< MX blocks along K, dequantized again, float product (torchao's EMULATED kernel).
    kNVFP4Dynamic,      ///< NVFP4 blocks along K with or without a per-tensor scale.
  };

  Kind kind = Kind::kNone;
  DType dtype = DType::kInt8;            ///< Code dtype: int8, float8_*, fp6_*, float4_e2m1fn_x2.
  Granularity granularity = PerRow{};    ///< PerRow, PerTensor, or PerBlock{1, 128} for float8.
  MappingType mapping_type = MappingType::kSymmetric;
  bool reduce_range = false;             ///< int8 codes in [-64, 63].
  ScaleCalculationMode scaling_mode = ScaleCalculationMode::kRceil;  ///< MX.
  std::int64_t block_size = 0;           ///< MX: 32; NVFP4: 16.
  bool use_dynamic_per_tensor_scale = false;  ///< NVFP4.
  std::optional<double> value_lb;        ///< float8: lower bound of max|x| before the scale is formed.
  std::optional<double> value_ub;
  bool use_fast_accum = true;            ///< float8: a GPU may sum with fewer bits than float32 has (Float8MMConfig).
  /// float8: the dtype that the scale is rounded to; absent: the activation's own.
  std::optional<DType> scale_dtype;
  Tensor scale;                          ///< Static kinds: float32, one element or [.., 1]; NVFP4: act_per_tensor_scale.
  Tensor zero_point;                     ///< kInt8Static: int8, same shape as scale; undefined = 0.
};

/// What the code of a zero point means.
enum class ZeroPointDomain : std::uint8_t {
  kNone,   ///< w = q * scale
  kInt,    ///< w = (q - zero_point) * scale
  kFloat,  ///< w = q * scale + zero_point
};

/// Where the bias is added and how often the output is rounded (spec section "roundings by class").
enum class BiasRounding : std::uint8_t {
  kFused,     ///< y = cast(sum + b)
  kSeparate,  ///< y = cast(cast(sum) + b)
};

/// The one description of a quantized weight that kernels know: plain codes, scales and how to read them.
///
/// Weight [N, K] row-major. All tensors are contiguous. Many checkpoint forms become this (swizzled scales are
/// unswizzled, tiles are unpacked), so a kernel never sees a checkpoint form.
struct QuantizedWeight {
  std::int64_t output_size = 0;  ///< N
  std::int64_t input_size = 0;   ///< K

  /// Code type: int1..int8 (signed), float8_e4m3fn, float8_e5m2, fp6_*, float4_e2m1fn_x2, or uint4 for nf4 table indices.
  DType weight_dtype = DType::kInt8;
  /// Codes in one byte of qdata: 1, or 2 for int4 nibbles (two's complement), float4 and nf4; the even column is in
  /// the low nibble. qdata is [N, K / codes_per_byte], bytes.
  int codes_per_byte = 1;
  Tensor qdata;

  /// [N / block_size[0], K / block_size[1]]: float32, float16, bfloat16, float8_e4m3fn (NVFP4) or float8_e8m0fnu (MX).
  Tensor scale;
  std::array<std::int64_t, 2> block_size{1, 0};
  /// Multiplies every scale (NVFP4 two-level): float32, one element. Undefined = 1.
  Tensor per_tensor_scale;

  ZeroPointDomain zero_point_domain = ZeroPointDomain::kNone;
  Tensor zero_point;  ///< Shape of scale; int8 for kInt, a float dtype for kInt or kFloat.

  Tensor codebook;  ///< nf4: 16 values, dtype = `dtype`. Undefined otherwise.

  DType dtype = DType::kBFloat16;  ///< The dtype in which torchao dequantizes and that it reports for the weight.
  /// Set where torchao casts any activation to one dtype, computes in it and casts the result back (tile-packed int4).
  std::optional<DType> compute_dtype;
  BiasRounding bias_rounding = BiasRounding::kFused;
  /// True where torchao multiplies the activation with the bare codes cast to the activation dtype, rounds, and then
  /// applies the scale of the row (Int8Tensor weight-only with one scale a row).
  bool scale_after_product = false;
  Tensor act_pre_scale;  ///< [K], multiplies the activation first. Undefined = none.
  ActivationQuant activation;
};

}  // namespace torchao_cpp
