// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/packed_code_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/float_formats.h"
#include "core/float_runs.h"
#include "kernels/code_planes.h"

namespace torchao_cpp {
namespace {

bool is_four_bit_float(const QuantizedWeight& w) {
  return w.codebook.defined() || w.weight_dtype == DType::kFloat4E2M1FNx2;
}

// Bits that CodeForm::kFields would hold; 0 where codes are whole bytes.
int field_bits(const QuantizedWeight& w) {
  if (is_four_bit_float(w)) return 4;
  const std::optional<int> bits = signed_int_bits(w.weight_dtype);
  return bits && *bits < 8 ? *bits : 0;
}

std::optional<CodeForm> byte_form(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return CodeForm::kFloat32;
    case DType::kFloat16:
      return CodeForm::kFloat16;
    case DType::kBFloat16:
      return CodeForm::kBFloat16;
    case DType::kFloat8E4M3FN:
      return CodeForm::kFloat8E4M3;
    case DType::kFloat8E5M2:
      return CodeForm::kFloat8E5M2;
    case DType::kFloat6E2M3:
      return CodeForm::kFloat6E2M3;
    case DType::kFloat6E3M2:
      return CodeForm::kFloat6E3M2;
    default:
      return signed_int_bits(dtype) ? std::optional(CodeForm::kInt8) : std::nullopt;
  }
}

bool fits_bfloat16(float v) noexcept {
  return std::isnan(v) || round_to(DType::kBFloat16, v) == v;
}

// Float tensor as bfloat16 where that loses nothing, else as float32; NaN as one quiet NaN.
Tensor narrowed(const std::vector<float>& values, bool as_bfloat16) {
  const auto count = static_cast<std::int64_t>(values.size());
  const DType dtype = as_bfloat16 ? DType::kBFloat16 : DType::kFloat32;
  Tensor out = Tensor::empty(dtype, {count});
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = values[static_cast<std::size_t>(i)];
    store_float(dtype, out.mutable_bytes(), i,
                std::isnan(v) ? std::numeric_limits<float>::quiet_NaN() : v);
  }
  return out;
}

// The roundings of a dequantized value, first to the weight's dtype, then to that of the product,
// as one; nullopt when both are needed.
std::optional<ValueRounding> one_rounding(const FloatLinear& linear) {
  const ValueRounding first = rounding_to(linear.value_dtype());
  const bool rounds_again = linear.weight().dtype != linear.compute_dtype();
  const ValueRounding second =
      rounds_again ? rounding_to(linear.compute_dtype()) : ValueRounding::kNone;
  if (second == ValueRounding::kNone || first == second) return first;
  if (first == ValueRounding::kNone) return second;
  return std::nullopt;
}

// Whether both operands are bfloat16 values, or can be rounded to them.
Support takes_bfloat16(const FloatLinear& linear) {
  if (linear.compute_dtype() != DType::kBFloat16)
    return Support::no(fmt::format("computes in {}", dtype_name(linear.compute_dtype())));
  if (linear.is_plain() && linear.plain().dtype() != DType::kBFloat16)
    return Support::no(fmt::format("the weight is {}", dtype_name(linear.plain().dtype())));
  return Support::yes();
}

}  // namespace

Support PackedCodeRows::supports(const FloatLinear& linear, const FloatProduct& product) {
  if (product.takes_bfloat16) {
    const Support support = takes_bfloat16(linear);
    if (!support.ok) return support;
  }
  if (linear.segment() != linear.input_size())
    return Support::no("scales along K of both operands need a sum for each block");
  if (linear.is_plain()) return Support::yes();
  const QuantizedWeight& w = linear.weight();
  const int bits = field_bits(w);
  if (bits == 0 && !byte_form(w.weight_dtype))
    return Support::no(fmt::format("codes are {}", dtype_name(w.weight_dtype)));
  if (linear.multiplies_codes()) return Support::yes();
  if (!one_rounding(linear)) {
    return Support::no(fmt::format("values are rounded to {}, then to {}", dtype_name(w.dtype),
                                   dtype_name(linear.compute_dtype())));
  }
  const std::int64_t columns = w.block_size[1];
  const bool has_blocks = columns < w.input_size;
  if (has_blocks && product.takes_bfloat16) {
    if (columns % 64 != 0 && columns != 32 && columns != 16)
      return Support::no(fmt::format("blocks of {} columns are not of 16, 32 or n times 64", columns));
  } else if (has_blocks && bits != 0 && columns % product.lanes != 0) {
    return Support::no(
        fmt::format("blocks of {} columns are no multiple of {}", columns, product.lanes));
  }
  const bool is_whole_bytes = bits == 0 || (!is_four_bit_float(w) && !int_codes_fit(w, bits));
  if (is_whole_bytes && w.zero_point_domain != ZeroPointDomain::kNone &&
      (w.zero_point_domain == ZeroPointDomain::kFloat || !signed_int_bits(w.weight_dtype)))
    return Support::no("codes of whole bytes with zero points that are floats");
  return Support::yes();
}

PackedCodeRows::PackedCodeRows(const FloatLinear& linear, const FloatProduct& product) {
  rows_.lanes = product.lanes;
  rows_.lane_bytes = product.lane_bytes;
  rows_.rows = linear.output_size();
  rows_.columns = linear.input_size();
  rows_.block_columns = rows_.columns;
  set_form(linear);
  if (!linear.is_plain() && !linear.multiplies_codes()) set_scales(linear);
}

void PackedCodeRows::set_form(const FloatLinear& linear) {
  const DType dtype = linear.is_plain() ? linear.plain().dtype() : linear.weight().weight_dtype;
  if (!linear.is_plain()) {
    const int bits = field_bits(linear.weight());
    if (bits != 0 && int_codes_fit(linear.weight(), bits))
      return pack_fields(linear.weight(), bits);
  }
  rows_.form = *byte_form(dtype);
  codes_ = linear.is_plain() ? linear.plain() : linear.weight().qdata;
  rows_.codes = codes_.bytes();
  rows_.row_bytes = codes_.nbytes() / std::max<std::int64_t>(rows_.rows, 1);
  if (!linear.is_plain() && rows_.form != CodeForm::kInt8) set_code_values(linear.weight(), 7);
}

void PackedCodeRows::pack_fields(const QuantizedWeight& w, int bits) {
  rows_.form = CodeForm::kFields;
  rows_.bits = bits;
  const CodePlanes layout(bits, rows_.lanes, rows_.lane_bytes, rows_.columns);
  rows_.row_bytes = layout.row_bytes();
  codes_ = Tensor::empty(DType::kUInt8, {rows_.rows, layout.row_bytes()});
  rows_.codes = codes_.bytes();
  const int offset = is_four_bit_float(w) ? 0 : 1 << (bits - 1);
  rows_.code_offset = static_cast<float>(offset);
  set_code_values(w, bits);
  pack_code_planes(w, bits, layout, offset, codes_.mutable_bytes());
}

void PackedCodeRows::set_code_values(const QuantizedWeight& w, int bits) {
  const bool is_float6 = rows_.form == CodeForm::kFloat6E2M3 || rows_.form == CodeForm::kFloat6E3M2;
  for (int i = 0; i < 128; ++i) {
    const int code = i & ((1 << (is_float6 ? 6 : bits)) - 1);
    if (w.codebook.defined()) {
      rows_.code_values[i] = load_float(w.codebook.dtype(), w.codebook.bytes(), code);
    } else if (signed_int_bits(w.weight_dtype)) {
      rows_.code_values[i] = static_cast<float>(code) - rows_.code_offset;
    } else {
      rows_.code_values[i] = decode_float(w.weight_dtype, static_cast<std::uint8_t>(code));
    }
  }
}

void PackedCodeRows::set_scales(const FloatLinear& linear) {
  const QuantizedWeight& w = linear.weight();
  rows_.is_scaled = true;
  rows_.rounding = *one_rounding(linear);
  rows_.block_rows = w.block_size[0];
  rows_.block_columns = w.block_size[1];
  rows_.blocks_per_row = rows_.columns / rows_.block_columns;
  const bool has_zero = w.zero_point_domain != ZeroPointDomain::kNone;
  if (has_zero) {
    rows_.zero_kind =
        w.zero_point_domain == ZeroPointDomain::kInt ? CodeZero::kInt : CodeZero::kFloat;
  }
  const bool has_byte_scales =
      w.scale.dtype() == DType::kFloat8E4M3FN || w.scale.dtype() == DType::kFloat8E8M0FNU;
  if (has_byte_scales && !has_zero) {
    rows_.scale_form = ScaleForm::kByte;
    scale_ = w.scale;
    rows_.scale = scale_.bytes();
    for (int i = 0; i < 256; ++i) {
      const float v = linear.byte_scale(static_cast<std::uint8_t>(i));
      rows_.byte_scales[i] = std::isnan(v) ? std::numeric_limits<float>::quiet_NaN() : v;
    }
    return;
  }
  const std::int64_t blocks = w.scale.numel();
  std::vector<float> scales(static_cast<std::size_t>(blocks));
  std::vector<float> zeros(has_zero ? scales.size() : 0);
  bool fit = true;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const auto i = static_cast<std::size_t>(b);
    scales[i] = linear.block_scale(b);
    fit = fit && fits_bfloat16(scales[i]);
    if (!has_zero) continue;
    const float zero = linear.block_zero_point(b);
    zeros[i] = rows_.zero_kind == CodeZero::kInt ? round_to(linear.value_dtype(), zero) : zero;
    fit = fit && fits_bfloat16(zeros[i]);
  }
  rows_.scale_form = fit ? ScaleForm::kBFloat16 : ScaleForm::kFloat32;
  scale_ = narrowed(scales, fit);
  rows_.scale = scale_.bytes();
  if (!has_zero) return;
  zero_ = narrowed(zeros, fit);
  rows_.zero = zero_.bytes();
}

std::int64_t PackedCodeRows::nbytes() const noexcept {
  return codes_.nbytes() + scale_.nbytes() + zero_.nbytes();
}

}  // namespace torchao_cpp
