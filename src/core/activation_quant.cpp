// SPDX-License-Identifier: Apache-2.0
#include "core/activation_quant.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/parallel.h"
#include "core/affine.h"
#include "core/float8_quant.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "core/mx_quant.h"
#include "core/nvfp4_quant.h"

namespace torchao_cpp {
namespace {

using Kind = ActivationQuant::Kind;

// torchao's int8 activations take float32's epsilon in every dtype.
constexpr float kInt8Eps = 0x1p-23f;

float smallest_normal(DType dtype) noexcept {
  return dtype == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
}

QuantRange int8_range(const ActivationQuant& quant) noexcept {
  return quant.reduce_range ? QuantRange{-64, 63} : QuantRange{-128, 127};
}

float first_value(const Tensor& scale) noexcept {
  return load_float(scale.dtype(), scale.bytes(), 0);
}

template <typename F>
void for_rows(const ActivationView& x, const F& fn) noexcept {
  parallel_for(x.rows, row_grain(x.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m) fn(m);
  });
}

// Ends of all rows together, for one scale of the whole activation.
void min_max_of_rows(const ActivationView& x, float& lo, float& hi) noexcept {
  constexpr std::int64_t kParts = 64;
  std::array<float, kParts> lows{};
  std::array<float, kParts> highs{};
  // Zero takes part in every choice of a range, so empty parts may hold it.
  parallel_for(kParts, kParts * row_grain(x.columns) / std::max<std::int64_t>(x.rows, 1) + 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t p = begin; p < end; ++p) {
                   const auto i = static_cast<std::size_t>(p);
                   for (std::int64_t m = x.rows * p / kParts; m < x.rows * (p + 1) / kParts; ++m) {
                     float low = 0.0f;
                     float high = 0.0f;
                     block_min_max(x.dtype, x.data, m * x.stride, x.columns, low, high);
                     lows[i] = low < lows[i] || low != low ? low : lows[i];
                     highs[i] = high > highs[i] || high != high ? high : highs[i];
                     if (low != low) break;
                   }
                 }
               });
  lo = 0.0f;
  hi = 0.0f;
  for (std::size_t i = 0; i < lows.size(); ++i) {
    if (lows[i] != lows[i]) {
      lo = hi = lows[i];
      return;
    }
    lo = std::min(lo, lows[i]);
    hi = std::max(hi, highs[i]);
  }
}

BlockQParams static_int8_qparams(const ActivationQuant& quant) noexcept {
  BlockQParams q{first_value(quant.scale), 0};
  if (quant.zero_point.defined()) q.zero_point = *quant.zero_point.data<std::int8_t>();
  return q;
}

// The one pair of qparams of all rows; nullopt when each row has its own.
std::optional<BlockQParams> shared_int8_qparams(const ActivationView& x,
                                                const ActivationQuant& quant) noexcept {
  if (quant.kind == Kind::kInt8Static) return static_int8_qparams(quant);
  if (!std::holds_alternative<PerTensor>(quant.granularity)) return std::nullopt;
  float lo = 0.0f;
  float hi = 0.0f;
  min_max_of_rows(x, lo, hi);
  return choose_block_qparams(x.dtype, quant.mapping_type, int8_range(quant),
                              round_to(x.dtype, kInt8Eps), lo, hi);
}

// The one scale of all rows; nullopt when each row or block has its own.
std::optional<float> shared_float8_scale(const ActivationView& x, const ActivationQuant& quant,
                                         const Float8Scale& choose_scale) noexcept {
  if (quant.kind == Kind::kFloat8Static) return first_value(quant.scale);
  if (!std::holds_alternative<PerTensor>(quant.granularity)) return std::nullopt;
  return choose_scale(abs_max_rows(x.dtype, x.data, x.rows, x.columns, x.stride));
}

std::optional<float> nvfp4_tensor_scale(const ActivationView& x,
                                        const ActivationQuant& quant) noexcept {
  if (quant.use_dynamic_per_tensor_scale) {
    return nvfp4_per_tensor_scale(abs_max_rows(x.dtype, x.data, x.rows, x.columns, x.stride));
  }
  if (quant.scale.defined()) return first_value(quant.scale);
  return std::nullopt;
}

MXFormat mx_format(const ActivationQuant& quant) noexcept {
  return {quant.dtype, quant.scaling_mode, quant.block_size};
}

}  // namespace

void quantize_activation_int8(const ActivationView& x, const ActivationQuant& quant,
                              std::int8_t* codes, float* scale, std::int8_t* zero_point) noexcept {
  const QuantRange range = int8_range(quant);
  const float eps = round_to(x.dtype, kInt8Eps);
  const std::optional<BlockQParams> shared = shared_int8_qparams(x, quant);
  for_rows(x, [&](std::int64_t m) {
    BlockQParams q;
    if (shared) {
      q = *shared;
    } else {
      float lo = 0.0f;
      float hi = 0.0f;
      block_min_max(x.dtype, x.data, m * x.stride, x.columns, lo, hi);
      q = choose_block_qparams(x.dtype, quant.mapping_type, range, eps, lo, hi);
    }
    scale[m] = q.scale;
    if (zero_point != nullptr) zero_point[m] = q.zero_point;
    // The scale is float32 by now, so the codes are computed in float32 in every T.
    quantize_block_affine(x.dtype, x.data, m * x.stride, x.columns, DType::kFloat32, q, range,
                          codes + m * x.columns);
  });
}

void quantize_activation_int8_asym_per_token(const ActivationView& x, std::int8_t* codes,
                                             float* scale, std::int8_t* zero_point) noexcept {
  for_rows(x, [&](std::int64_t m) {
    float lo = 0.0f;
    float hi = 0.0f;
    block_min_max(x.dtype, x.data, m * x.stride, x.columns, lo, hi);
    const BlockQParams q = choose_block_qparams(x.dtype, MappingType::kAsymmetric, {-128, 127},
                                                smallest_normal(x.dtype), lo, hi);
    scale[m] = q.scale;
    zero_point[m] = q.zero_point;
    quantize_block_affine(x.dtype, x.data, m * x.stride, x.columns, x.dtype, q, {-128, 127},
                          codes + m * x.columns);
  });
}

void fake_quantize_int8_asym_per_token(const ActivationView& x, void* out) noexcept {
  for_rows(x, [&](std::int64_t m) {
    float lo = 0.0f;
    float hi = 0.0f;
    block_min_max(x.dtype, x.data, m * x.stride, x.columns, lo, hi);
    const BlockQParams q = choose_block_qparams(x.dtype, MappingType::kAsymmetric, {-128, 127},
                                                smallest_normal(x.dtype), lo, hi);
    std::int8_t codes[kFloatRun];
    float values[kFloatRun];
    for (std::int64_t done = 0; done < x.columns; done += kFloatRun) {
      const std::int64_t n = std::min(kFloatRun, x.columns - done);
      quantize_block_affine(x.dtype, x.data, m * x.stride + done, n, x.dtype, q, {-128, 127},
                            codes);
      // A difference of int8 values is at most 255 and so exact in every T.
      for (std::int64_t i = 0; i < n; ++i)
        values[i] = static_cast<float>(codes[i] - q.zero_point) * q.scale;
      store_floats(x.dtype, out, m * x.columns + done, n, values);
    }
  });
}

std::int64_t float8_scales_per_row(const ActivationQuant& quant, std::int64_t columns) noexcept {
  const auto* block = std::get_if<PerBlock>(&quant.granularity);
  return quant.kind == Kind::kFloat8Dynamic && block != nullptr ? columns / block->block_size.back()
                                                                : 1;
}

void quantize_activation_float8(const ActivationView& x, const ActivationQuant& quant,
                                std::uint8_t* codes, float* scale) noexcept {
  const Float8Scale choose_scale{quant.scale_dtype.value_or(x.dtype), quant.dtype, quant.value_lb,
                                 quant.value_ub};
  const std::optional<float> shared = shared_float8_scale(x, quant, choose_scale);
  const std::int64_t blocks = float8_scales_per_row(quant, x.columns);
  const std::int64_t block = x.columns / std::max<std::int64_t>(blocks, 1);
  for_rows(x, [&](std::int64_t m) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t first = m * x.stride + b * block;
      const float s = shared ? *shared : choose_scale(abs_max(x.dtype, x.data, first, block));
      scale[m * blocks + b] = s;
      quantize_float8(x.dtype, x.data, first, block, s, quant.dtype,
                      codes + m * x.columns + b * block);
    }
  });
}

void quantize_activation_mx(const ActivationView& x, const ActivationQuant& quant,
                            std::uint8_t* codes, std::uint8_t* scale) noexcept {
  const MXFormat format = mx_format(quant);
  const std::int64_t row_bytes = code_bytes(quant.dtype, x.columns);
  const std::int64_t blocks = x.columns / quant.block_size;
  for_rows(x, [&](std::int64_t m) {
    quantize_mx(format, x.dtype, x.data, m * x.stride, x.columns, codes + m * row_bytes,
                scale + m * blocks);
  });
}

void fake_quantize_mx(const ActivationView& x, const ActivationQuant& quant, void* out) noexcept {
  const MXFormat format = mx_format(quant);
  for_rows(x, [&](std::int64_t m) {
    float values[kFloatRun];
    std::uint8_t codes[kFloatRun];
    for (std::int64_t first = 0; first < x.columns; first += format.block_size) {
      const MXBlockScale scale = choose_mx_scale(
          format, abs_max(x.dtype, x.data, m * x.stride + first, format.block_size), x.dtype);
      for (std::int64_t done = 0; done < format.block_size; done += kFloatRun) {
        const std::int64_t n = std::min(kFloatRun, format.block_size - done);
        load_floats(x.dtype, x.data, m * x.stride + first + done, n, values);
        for (std::int64_t i = 0; i < n; ++i) values[i] *= scale.encode_factor;
        encode_floats(format.element_dtype, values, n, codes);
        decode_floats(format.element_dtype, codes, n, values);
        for (std::int64_t i = 0; i < n; ++i) values[i] *= scale.decode_factor;
        store_floats(x.dtype, out, m * x.columns + first + done, n, values);
      }
    }
  });
}

float quantize_activation_nvfp4(const ActivationView& x, const ActivationQuant& quant,
                                std::uint8_t* codes, std::uint8_t* scale) noexcept {
  const std::optional<float> tensor_scale = nvfp4_tensor_scale(x, quant);
  const std::int64_t blocks = x.columns / kNVFP4BlockSize;
  for_rows(x, [&](std::int64_t m) {
    quantize_nvfp4(x.dtype, x.data, m * x.stride, x.columns, tensor_scale,
                   codes + m * x.columns / 2, scale + m * blocks);
  });
  return tensor_scale.value_or(1.0f);
}

void fake_quantize_nvfp4(const ActivationView& x, const ActivationQuant& quant,
                         void* out) noexcept {
  const std::optional<float> tensor_scale = nvfp4_tensor_scale(x, quant);
  for_rows(x, [&](std::int64_t m) {
    std::uint8_t codes[kNVFP4BlockSize / 2];
    std::uint8_t scale = 0;
    for (std::int64_t first = 0; first < x.columns; first += kNVFP4BlockSize) {
      quantize_nvfp4(x.dtype, x.data, m * x.stride + first, kNVFP4BlockSize, tensor_scale, codes,
                     &scale);
      dequantize_nvfp4(codes, &scale, kNVFP4BlockSize, tensor_scale.value_or(1.0f), x.dtype, out,
                       m * x.columns + first);
    }
  });
}

}  // namespace torchao_cpp
