// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

#include "torchao_cpp/quant_types.h"
#include "torchao_cpp/tensor.h"

/// The affine integer primitives that every int family shares: choose scales and zero points,
/// quantize, dequantize. Each elementwise step is a float32 operation rounded once to the dtype
/// torchao computes it in, so results equal torchao's on the CPU bit for bit. Parallel over rows;
/// results do not depend on the number of threads. Source: torchao 0.18
/// quantization/quant_primitives.py.
namespace torchao_cpp {

/// Rows and columns of a weight [N, K] that share one scale; the scale tensor is [N / rows, K /
/// columns].
using BlockSize = std::array<std::int64_t, 2>;

/// Smallest and largest code.
struct QuantRange {
  int min = -128;
  int max = 127;
};

/// Codes of intB: [-2^(B-1), 2^(B-1) - 1].
constexpr QuantRange signed_quant_range(int bits) noexcept {
  return {-(1 << (bits - 1)), (1 << (bits - 1)) - 1};
}

/// Throws ShapeError or UnsupportedError, naming `class_name`, unless `weight` is a non-empty 2-D
/// float32, float16 or bfloat16 tensor.
void check_weight_matrix(const Tensor& weight, std::string_view class_name);

/// torchao's get_block_size for a weight [N, K]: PerTensor (N, K), PerRow(dim) the whole of `dim`,
/// PerAxis(axis) the whole of the other axis, PerGroup (1, g), PerBlock as given. Throws ShapeError
/// ("not divisible by group size") when the block does not divide the shape, UnsupportedError for a
/// granularity that has no block here (PerToken).
BlockSize block_size_from_granularity(const Granularity& granularity, std::int64_t n,
                                      std::int64_t k);

/// Scales in the weight's dtype and int8 zero points (zeros for the symmetric mappings), both [N /
/// bn, K / bk].
struct AffineQParams {
  Tensor scale;
  Tensor zero_point;
};

/// Chooses scale and zero point of every block of `weight` [N, K] (float32, float16 or bfloat16).
/// `block` divides the shape. `eps` bounds the scale from below and is rounded to the weight's
/// dtype; default: its smallest normal number. A block with a NaN or an infinity gets the scale NaN
/// or inf, as torchao gives it.
AffineQParams choose_qparams_affine(const Tensor& weight, const BlockSize& block,
                                    MappingType mapping, QuantRange range,
                                    std::optional<float> eps = std::nullopt);

/// Codes int8 [N, K] = clamp(round(w * (1 / scale)) + zero_point), half to even, with the rounded
/// reciprocal. `scale` may have another float dtype than `weight`; the product is formed in the
/// promoted one. NaN becomes code 0. `zero_point` is int8 or undefined (0).
Tensor quantize_affine(const Tensor& weight, const BlockSize& block, const Tensor& scale,
                       const Tensor& zero_point, QuantRange range);

/// What choose_qparams_affine and quantize_affine give, codes int8 [N, K], in one pass over memory.
struct AffineQuantized {
  Tensor qdata;
  Tensor scale;
  Tensor zero_point;
};

/// Both at once. The scales are chosen in the weight's dtype and stored as `scale_dtype`; the codes
/// follow from the stored ones.
AffineQuantized quantize_affine_weight(const Tensor& weight, const BlockSize& block,
                                       MappingType mapping, QuantRange range, DType scale_dtype,
                                       std::optional<float> eps = std::nullopt);

/// (q - zero_point) * scale as `output_dtype` [N, K]. `qdata` int8; `zero_point` int8, a float
/// dtype, or undefined (0); `scale` any float dtype: the product is formed in the promotion of
/// scale and output dtype and rounded once.
Tensor dequantize_affine(const Tensor& qdata, const BlockSize& block, const Tensor& scale,
                         const Tensor& zero_point, DType output_dtype);

/// Scale and zero point of one block, for callers that quantize rows as they come (activations).
struct BlockQParams {
  float scale = 0.0f;  ///< A value of the block's dtype.
  std::int8_t zero_point = 0;
};

/// Smallest and largest of `count` elements from `begin`; NaN for both when there is one.
void block_min_max(DType dtype, const void* data, std::int64_t begin, std::int64_t count, float& lo,
                   float& hi) noexcept;

/// block_min_max of `groups` neighbouring groups of `size` elements.
void group_min_max(DType dtype, const void* data, std::int64_t begin, std::int64_t groups,
                   std::int64_t size, float* lo, float* hi) noexcept;

/// choose_qparams_affine for one block of `dtype` with these ends. `eps` must be a value of
/// `dtype`.
BlockQParams choose_block_qparams(DType dtype, MappingType mapping, QuantRange range, float eps,
                                  float amin, float amax) noexcept;

/// quantize_affine for `count` elements from `begin`, all with one scale of `scale_dtype`.
void quantize_block_affine(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                           DType scale_dtype, const BlockQParams& qparams, QuantRange range,
                           std::int8_t* out) noexcept;

/// The dtype torch computes in when both take part: the same one, or float32 when they differ.
constexpr DType promote_float(DType a, DType b) noexcept { return a == b ? a : DType::kFloat32; }

/// rint(v) without a library call, for |v| <= 2^22 or NaN: the addition pushes the fraction out of
/// the significand.
inline float round_half_even(float v) noexcept {
  constexpr float kPush = 12582912.0f;  // 1.5 * 2^23
  return (v + kPush) - kPush;
}

/// The low bits of rint(v) in two's complement, for |v| <= 2^22; anything for NaN. Its lowest byte
/// is the int8 code where v is within int8.
inline std::uint32_t low_bits_of_rounded(float v) noexcept {
  return std::bit_cast<std::uint32_t>(v + 12582912.0f);  // 1.5 * 2^23, whose low bits are 0
}

/// clamp(round(v), lo, hi) for bounds within 16 of zero. Clamping first changes nothing and keeps v
/// where rounding is cheap.
inline float clamp_round(float v, float lo, float hi) noexcept {
  v = v < -32.0f ? -32.0f : v;
  v = v > 32.0f ? 32.0f : v;
  const float r = round_half_even(v);
  return r < lo ? lo : (r > hi ? hi : r);
}

/// NaN has no code; torch's conversion gives 0 before any offset on the reference CPU.
inline std::int8_t code_from_float(float v) noexcept {
  return v == v ? static_cast<std::int8_t>(v) : std::int8_t{0};
}

/// True when every element is zero (int8 or a float dtype; -0 counts as zero). An undefined tensor
/// is all zero.
bool is_all_zero(const Tensor& tensor) noexcept;

}  // namespace torchao_cpp
