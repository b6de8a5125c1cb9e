// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/packed_code_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

// Planes of a code of `bits` bits, widest first, with the bit of the code that each begins at.
struct Plane {
  int width = 0;
  int first_bit = 0;
  std::int64_t offset_bytes = 0;  ///< In a row.
};

struct Planes {
  std::vector<Plane> planes;
  std::int64_t row_bytes = 0;
};

Planes planes_of(int bits, int lanes, std::int64_t columns) {
  Planes out;
  int first_bit = 0;
  for (const int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    out.planes.push_back({width, first_bit, out.row_bytes});
    first_bit += width;
    const std::int64_t group = std::int64_t{lanes} * (32 / width);
    out.row_bytes += (columns + group - 1) / group * lanes * 4;
  }
  return out;
}

// ORs one row's codes, one a byte, into its zeroed planes.
TORCHAO_CPP_VECTOR_CLONES void pack_row(const Planes& layout, int lanes, const std::uint8_t* codes, std::int64_t columns,
              std::byte* row) noexcept {
  for (const Plane& plane : layout.planes) {
    const std::int64_t fields = 32 / plane.width;
    const std::uint32_t mask = (1u << plane.width) - 1u;
    auto* words = reinterpret_cast<std::uint32_t*>(row + plane.offset_bytes);
    for (std::int64_t k = 0; k < columns; k += lanes) {
      const std::int64_t j = k / lanes;
      std::uint32_t* group = words + j / fields * lanes;
      const int shift = static_cast<int>(j % fields) * plane.width;
      const std::int64_t count = std::min<std::int64_t>(lanes, columns - k);
      for (std::int64_t l = 0; l < count; ++l)
        group[l] |= (static_cast<std::uint32_t>(codes[k + l]) >> plane.first_bit & mask) << shift;
    }
  }
}

bool is_four_bit_float(const QuantizedWeight& w) {
  return w.codebook.defined() || w.weight_dtype == DType::kFloat4E2M1FNx2;
}

// Bits that CodeForm::kFields would hold; 0 where codes are whole bytes.
int field_bits(const QuantizedWeight& w) {
  if (is_four_bit_float(w)) return 4;
  const std::optional<int> bits = signed_int_bits(w.weight_dtype);
  return bits && *bits < 8 ? *bits : 0;
}

// Whether codes stored one a byte are all of `bits` bits; a file may hold others.
bool codes_fit(const QuantizedWeight& w, int bits) {
  if (w.codes_per_byte == 2) return true;
  const auto* codes = w.qdata.data<std::int8_t>();
  const int low = -(1 << (bits - 1));
  const int high = (1 << (bits - 1)) - 1;
  std::atomic<bool> fits{true};
  parallel_for(w.qdata.numel(), std::int64_t{1} << 20, [&](std::int64_t begin, std::int64_t end) {
    bool ok = true;
    for (std::int64_t i = begin; i < end; ++i) ok &= codes[i] >= low && codes[i] <= high;
    if (!ok) fits.store(false, std::memory_order_relaxed);
  });
  return fits.load();
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

ValueRounding rounding_of(DType dtype) noexcept {
  if (dtype == DType::kBFloat16) return ValueRounding::kBFloat16;
  return dtype == DType::kFloat16 ? ValueRounding::kFloat16 : ValueRounding::kNone;
}

// The roundings of a dequantized value, first to the weight's dtype, then to that of the product,
// as one; nullopt when both are needed.
std::optional<ValueRounding> one_rounding(const FloatLinear& linear) {
  const ValueRounding first = rounding_of(linear.value_dtype());
  const bool rounds_again = linear.weight().dtype != linear.compute_dtype();
  const ValueRounding second =
      rounds_again ? rounding_of(linear.compute_dtype()) : ValueRounding::kNone;
  if (second == ValueRounding::kNone || first == second) return first;
  if (first == ValueRounding::kNone) return second;
  return std::nullopt;
}

}  // namespace

Support PackedCodeRows::supports(const FloatLinear& linear, int lanes) {
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
  if (bits != 0 && columns < w.input_size && columns % lanes != 0) {
    return Support::no(
        fmt::format("blocks of {} columns are no multiple of {}", columns, lanes));
  }
  if (bits == 0 && w.zero_point_domain != ZeroPointDomain::kNone &&
      (w.zero_point_domain == ZeroPointDomain::kFloat || !signed_int_bits(w.weight_dtype)))
    return Support::no("zero points are floats");
  return Support::yes();
}

PackedCodeRows::PackedCodeRows(const FloatLinear& linear, int lanes) {
  rows_.rows = linear.output_size();
  rows_.columns = linear.input_size();
  rows_.block_columns = rows_.columns;
  set_form(linear, lanes);
  if (!linear.is_plain() && !linear.multiplies_codes()) set_scales(linear);
}

void PackedCodeRows::set_form(const FloatLinear& linear, int lanes) {
  const DType dtype = linear.is_plain() ? linear.plain().dtype() : linear.weight().weight_dtype;
  if (!linear.is_plain()) {
    const int bits = field_bits(linear.weight());
    if (bits != 0 && codes_fit(linear.weight(), bits))
      return pack_fields(linear.weight(), bits, lanes);
  }
  rows_.form = *byte_form(dtype);
  codes_ = linear.is_plain() ? linear.plain() : linear.weight().qdata;
  rows_.codes = codes_.bytes();
  rows_.row_bytes = codes_.nbytes() / std::max<std::int64_t>(rows_.rows, 1);
}

void PackedCodeRows::pack_fields(const QuantizedWeight& w, int bits, int lanes) {
  rows_.form = CodeForm::kFields;
  rows_.bits = bits;
  rows_.lanes = lanes;
  const Planes layout = planes_of(bits, lanes, rows_.columns);
  rows_.row_bytes = layout.row_bytes;
  codes_ = Tensor::zeros(DType::kUInt8, {rows_.rows, layout.row_bytes});
  rows_.codes = codes_.bytes();

  const bool is_signed = !is_four_bit_float(w);
  const int offset = is_signed ? 1 << (bits - 1) : 0;
  rows_.code_offset = static_cast<float>(offset);
  for (int i = 0; i < 32; ++i) {
    const int code = i & ((1 << bits) - 1);
    if (w.codebook.defined()) {
      rows_.code_values[i] = load_float(w.codebook.dtype(), w.codebook.bytes(), code);
    } else if (!is_signed) {
      rows_.code_values[i] = decode_float(w.weight_dtype, static_cast<std::uint8_t>(code));
    } else {
      rows_.code_values[i] = static_cast<float>(code - offset);
    }
  }
  const auto* from = w.qdata.data<std::uint8_t>();
  std::byte* to = codes_.mutable_bytes();
  const std::int64_t columns = rows_.columns;
  parallel_for(rows_.rows, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(columns));
    const auto flip = static_cast<std::uint8_t>(offset);
    const auto mask = static_cast<std::uint8_t>((1 << bits) - 1);
    for (std::int64_t n = begin; n < end; ++n) {
      // Two's complement to offset binary: the top bit turns over.
      if (w.codes_per_byte == 2) {
        const std::uint8_t* row = from + n * (columns / 2);
        for (std::int64_t k = 0; k < columns / 2; ++k) {
          codes[static_cast<std::size_t>(2 * k)] = static_cast<std::uint8_t>((row[k] & 15) ^ flip);
          codes[static_cast<std::size_t>(2 * k + 1)] =
              static_cast<std::uint8_t>((row[k] >> 4) ^ flip);
        }
      } else {
        const std::uint8_t* row = from + n * columns;
        for (std::int64_t k = 0; k < columns; ++k)
          codes[static_cast<std::size_t>(k)] = static_cast<std::uint8_t>((row[k] ^ flip) & mask);
      }
      pack_row(layout, lanes, codes.data(), columns, to + n * layout.row_bytes);
    }
  });
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
