// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/float_linear.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "core/activation_quant.h"
#include "core/affine.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "core/nvfp4_quant.h"
#include "kernels/scaled_activation.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using Kind = ActivationQuant::Kind;

bool is_float8_activation(Kind kind) noexcept {
  return kind == Kind::kFloat8Dynamic || kind == Kind::kFloat8Static;
}

// What each code stands for before any scale. Nibbles use the first 16 entries.
std::array<float, 256> make_code_values(const QuantizedWeight& w) noexcept {
  std::array<float, 256> values{};
  for (int i = 0; i < 256; ++i) {
    const auto code = static_cast<std::uint8_t>(i);
    float& value = values[static_cast<std::size_t>(i)];
    if (w.codebook.defined()) {
      value = load_float(w.codebook.dtype(), w.codebook.bytes(), code & 15);
    } else if (!signed_int_bits(w.weight_dtype)) {
      value = decode_float(w.weight_dtype, code);
    } else if (w.codes_per_byte == 2) {
      value = static_cast<float>((code & 15) - (code & 8) * 2);
    } else {
      value = static_cast<float>(static_cast<std::int8_t>(code));
    }
  }
  return values;
}

// In place: codes of one block -> values, each step rounded to `dtype`.
void scale_block(DType dtype, ZeroPointDomain domain, float scale, float zero_point,
                 std::int64_t count, float* v) noexcept {
  for_dtype(dtype, [&]<DType kDType>() {
    switch (domain) {
      case ZeroPointDomain::kFloat:
        for (std::int64_t i = 0; i < count; ++i) v[i] = round_to(kDType, v[i] * scale + zero_point);
        break;
      case ZeroPointDomain::kInt: {
        const float zero = round_to(kDType, zero_point);
        for (std::int64_t i = 0; i < count; ++i)
          v[i] = round_to(kDType, round_to(kDType, v[i] - zero) * scale);
        break;
      }
      case ZeroPointDomain::kNone:
        for (std::int64_t i = 0; i < count; ++i) v[i] = round_to(kDType, v[i] * scale);
        break;
    }
  });
}

}  // namespace

/// Pointers into the workspace of one call; those not needed take no room.
struct FloatLinear::Buffers {
  std::byte* scaled = nullptr;          ///< [M, K] compute dtype
  std::byte* quantized = nullptr;       ///< [M, K] compute dtype: quantized and back
  std::uint8_t* codes = nullptr;        ///< [M, K] bytes at most
  std::uint8_t* code_scales = nullptr;  ///< [M, K / 16]
  float* values = nullptr;              ///< [M, K]
  float* row_scale = nullptr;           ///< [M, scales a row]
  std::int64_t total_bytes = 0;
};

FloatLinear::FloatLinear(const LinearProblem& problem)
    : is_plain_(problem.quantized == nullptr),
      plain_(problem.plain),
      activation_dtype_(problem.activation_dtype),
      compute_dtype_(linear_compute_dtype(problem)),
      output_size_(problem.output_size()),
      input_size_(problem.input_size()),
      segment_(problem.input_size()) {
  if (is_plain_) return;
  weight_ = *problem.quantized;
  code_values_ = make_code_values(weight_);
  const bool has_float8_product =
      is_float8_activation(weight_.activation.kind) && !signed_int_bits(weight_.weight_dtype);
  multiplies_codes_ = weight_.scale_after_product || has_float8_product;
  rounds_product_ = weight_.scale_after_product;
  rounds_before_bias_ = weight_.bias_rounding == BiasRounding::kSeparate;
  // torchao's NVFP4 product takes the per-tensor scales out of the sum and multiplies the rounded
  // result.
  if (weight_.activation.kind == Kind::kNVFP4Dynamic) rounds_product_ = rounds_before_bias_;
  if (multiplies_codes_) choose_column_scale();
}

void FloatLinear::choose_column_scale() {
  const std::int64_t rows = weight_.block_size[0];
  if (weight_.block_size[1] < input_size_) {
    segment_ = weight_.block_size[1];
    return;
  }
  column_scale_.resize(static_cast<std::size_t>(output_size_));
  for (std::int64_t n = 0; n < output_size_; ++n) {
    const float scale = load_float(weight_.scale.dtype(), weight_.scale.bytes(), n / rows);
    column_scale_[static_cast<std::size_t>(n)] =
        weight_.scale_after_product ? round_to(compute_dtype_, scale) : scale;
  }
  weight_.scale = {};
}

std::int64_t FloatLinear::nbytes() const noexcept {
  if (is_plain_) return plain_.nbytes();
  auto bytes = static_cast<std::int64_t>(column_scale_.size() * sizeof(float));
  for (const Tensor* t : {&weight_.qdata, &weight_.scale, &weight_.per_tensor_scale,
                          &weight_.zero_point, &weight_.codebook, &weight_.act_pre_scale}) {
    bytes += t->nbytes();
  }
  return bytes;
}

const float* FloatLinear::plain_float32() const noexcept {
  return is_plain_ && plain_.dtype() == DType::kFloat32 ? plain_.data<float>() : nullptr;
}

bool FloatLinear::is_scaled_activation() const noexcept {
  return scales_activation(activation_dtype_, weight_.act_pre_scale, compute_dtype_);
}

FloatLinear::Buffers FloatLinear::buffers(std::int64_t m, std::byte* workspace) const noexcept {
  Workspace space(workspace);
  Buffers b;
  const Kind kind = weight_.activation.kind;
  const std::int64_t element = dtype_size_bytes(compute_dtype_);
  if (is_scaled_activation()) b.scaled = space.take<std::byte>(m * input_size_ * element);
  if (kind == Kind::kInt8AsymPerToken || kind == Kind::kMXDynamic)
    b.quantized = space.take<std::byte>(m * input_size_ * element);
  const bool has_codes = is_float8_activation(kind) || kind == Kind::kNVFP4Dynamic;
  if (has_codes) b.codes = space.take<std::uint8_t>(m * input_size_);
  if (kind == Kind::kNVFP4Dynamic)
    b.code_scales = space.take<std::uint8_t>(m * input_size_ / kNVFP4BlockSize);
  if (is_float8_activation(kind))
    b.row_scale = space.take<float>(m * float8_scales_per_row(weight_.activation, input_size_));
  if (kind == Kind::kNVFP4Dynamic) b.row_scale = space.take<float>(m);
  if (has_codes || compute_dtype_ != DType::kFloat32) b.values = space.take<float>(m * input_size_);
  b.total_bytes = space.used_bytes();
  return b;
}

std::int64_t FloatLinear::workspace_bytes(std::int64_t m) const noexcept {
  return buffers(m, nullptr).total_bytes;
}

FloatOperand FloatLinear::prepare(const LinearArgs& args, std::byte* workspace,
                                  bool may_be_bfloat16) const noexcept {
  const Buffers b = buffers(args.m, workspace);
  ActivationView x{args.x, activation_dtype_, args.m, input_size_, input_size_};
  x = scale_activation(x, weight_.act_pre_scale, compute_dtype_, b.scaled);
  switch (weight_.activation.kind) {
    case Kind::kInt8AsymPerToken:
      fake_quantize_int8_asym_per_token(x, b.quantized);
      x.data = b.quantized;
      break;
    case Kind::kMXDynamic:
      fake_quantize_mx(x, weight_.activation, b.quantized);
      x.data = b.quantized;
      break;
    case Kind::kFloat8Dynamic:
    case Kind::kFloat8Static:
      return read_float8_activation(x, b);
    case Kind::kNVFP4Dynamic:
      return read_nvfp4_activation(x, b);
    default:
      break;
  }
  if (x.dtype == DType::kFloat32) return {static_cast<const float*>(x.data), nullptr, nullptr};
  if (x.dtype == DType::kBFloat16 && may_be_bfloat16) return {nullptr, nullptr, x.data};
  parallel_for(x.rows, row_grain(x.columns), [&](std::int64_t begin, std::int64_t end) {
    load_floats(x.dtype, x.data, begin * x.columns, (end - begin) * x.columns,
                b.values + begin * x.columns);
  });
  return {b.values, nullptr, nullptr};
}

FloatOperand FloatLinear::read_float8_activation(const ActivationView& x,
                                                 const Buffers& b) const noexcept {
  const ActivationQuant& quant = weight_.activation;
  quantize_activation_float8(x, quant, b.codes, b.row_scale);
  parallel_for(x.rows, row_grain(x.columns), [&](std::int64_t begin, std::int64_t end) {
    decode_floats(quant.dtype, b.codes + begin * x.columns, (end - begin) * x.columns,
                  b.values + begin * x.columns);
  });
  return {b.values, b.row_scale, nullptr};
}

// Values are code * block scale, exact in float32; the per-tensor scales of both sides follow the
// sum, rounded.
FloatOperand FloatLinear::read_nvfp4_activation(const ActivationView& x,
                                                const Buffers& b) const noexcept {
  const float tensor_scale =
      quantize_activation_nvfp4(x, weight_.activation, b.codes, b.code_scales);
  const std::int64_t blocks = x.columns / kNVFP4BlockSize;
  parallel_for(x.rows, row_grain(x.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * blocks; i < end * blocks; ++i) {
      dequantize_nvfp4(b.codes + i * kNVFP4BlockSize / 2, b.code_scales + i, kNVFP4BlockSize, 1.0f,
                       DType::kFloat32, b.values, i * kNVFP4BlockSize);
    }
  });
  if (!rounds_product_) return {b.values, nullptr, nullptr};
  const float weight_scale =
      weight_.per_tensor_scale.defined() ? *weight_.per_tensor_scale.data<float>() : 1.0f;
  std::fill_n(b.row_scale, x.rows, round_to(compute_dtype_, tensor_scale * weight_scale));
  return {b.values, b.row_scale, nullptr};
}

void FloatLinear::read_weight(std::int64_t n, std::int64_t begin, std::int64_t count,
                              float* out) const noexcept {
  if (is_plain_)
    return load_floats(plain_.dtype(), plain_.bytes(), n * input_size_ + begin, count, out);
  read_codes(n, begin, count, out);
  if (!multiplies_codes_) scale_codes(n, begin, count, out);
}

void FloatLinear::read_codes(std::int64_t n, std::int64_t begin, std::int64_t count,
                             float* out) const noexcept {
  const auto* row = reinterpret_cast<const std::uint8_t*>(weight_.qdata.bytes()) +
                    n * (input_size_ / weight_.codes_per_byte);
  if (weight_.codes_per_byte == 2) {
    std::int64_t i = 0;
    if (begin % 2 != 0 && count > 0) out[i++] = code_values_[row[begin / 2] >> 4];
    // Whole bytes: the even column is in the low nibble.
    for (; i + 2 <= count; i += 2) {
      const std::uint8_t byte = row[(begin + i) / 2];
      out[i] = code_values_[byte & 15];
      out[i + 1] = code_values_[byte >> 4];
    }
    if (i < count) out[i] = code_values_[row[(begin + i) / 2] & 15];
  } else if (signed_int_bits(weight_.weight_dtype)) {
    const auto* codes = reinterpret_cast<const std::int8_t*>(row + begin);
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(codes[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = code_values_[row[begin + i]];
  }
}

float FloatLinear::byte_scale(std::uint8_t byte) const noexcept {
  const float scale = decode_float(weight_.scale.dtype(), byte);
  // torchao casts the power of two to the dtype of the weight first: float16 cannot hold them all.
  if (weight_.scale.dtype() == DType::kFloat8E8M0FNU) return round_to(weight_.dtype, scale);
  // With a dynamic activation the per-tensor scale follows the sum.
  const bool is_two_level =
      weight_.per_tensor_scale.defined() && weight_.activation.kind != Kind::kNVFP4Dynamic;
  return is_two_level ? *weight_.per_tensor_scale.data<float>() * scale : scale;
}

float FloatLinear::block_scale(std::int64_t block) const noexcept {
  if (dtype_size_bytes(weight_.scale.dtype()) == 1)
    return byte_scale(weight_.scale.data<std::uint8_t>()[block]);
  return load_float(weight_.scale.dtype(), weight_.scale.bytes(), block);
}

float FloatLinear::block_zero_point(std::int64_t block) const noexcept {
  if (weight_.zero_point_domain == ZeroPointDomain::kNone) return 0.0f;
  if (weight_.zero_point.dtype() == DType::kInt8)
    return static_cast<float>(weight_.zero_point.data<std::int8_t>()[block]);
  return load_float(weight_.zero_point.dtype(), weight_.zero_point.bytes(), block);
}

DType FloatLinear::value_dtype() const noexcept {
  // code * e4m3 scale is exact in float32 and in bfloat16, and torchao rounds nowhere in between.
  return weight_.activation.kind == Kind::kNVFP4Dynamic ? DType::kFloat32 : weight_.dtype;
}

void FloatLinear::release_weight() noexcept {
  plain_ = {};
  weight_.qdata = {};
  weight_.scale = {};
  weight_.zero_point = {};
  weight_.codebook = {};
}

// In place: codes of one row -> dequantized values, rounded to the weight's dtype, then to the
// compute dtype.
void FloatLinear::scale_codes(std::int64_t n, std::int64_t begin, std::int64_t count,
                              float* out) const noexcept {
  const std::int64_t columns = weight_.block_size[1];
  const std::int64_t first_block = n / weight_.block_size[0] * (input_size_ / columns);
  const DType dtype = value_dtype();
  for (std::int64_t i = 0; i < count;) {
    const std::int64_t block = first_block + (begin + i) / columns;
    const std::int64_t length = std::min(count - i, columns - (begin + i) % columns);
    scale_block(dtype, weight_.zero_point_domain, block_scale(block), block_zero_point(block),
                length, out + i);
    i += length;
  }
  if (weight_.dtype == compute_dtype_ || compute_dtype_ == DType::kFloat32) return;
  for_dtype(compute_dtype_, [&]<DType kDType>() {
    for (std::int64_t i = 0; i < count; ++i) out[i] = round_to(kDType, out[i]);
  });
}

float FloatLinear::segment_scale(const FloatOperand& operand, std::int64_t m, std::int64_t n,
                                 std::int64_t s) const noexcept {
  const std::int64_t segments = input_size_ / segment_;
  const std::int64_t b = n / weight_.block_size[0] * segments + s;
  const float weight_scale = load_float(weight_.scale.dtype(), weight_.scale.bytes(), b);
  return operand.row_scale[m * segments + s] * weight_scale;
}

Epilogue FloatLinear::epilogue() const noexcept {
  Epilogue e;
  e.compute = rounding_to(compute_dtype_);
  e.output = rounding_to(activation_dtype_);
  e.rounds_sum = rounds_product_;
  e.rounds_before_bias = rounds_before_bias_;
  if (!column_scale_.empty()) e.column_scale = column_scale_.data();
  return e;
}

void FloatLinear::finish(const LinearArgs& args, const FloatOperand& operand, std::int64_t m0,
                         std::int64_t rows, std::int64_t n0, std::int64_t columns,
                         const float* sums) const noexcept {
  const bool has_row_scale = operand.row_scale != nullptr && segment_ == input_size_;
  for_dtype(compute_dtype_, [&]<DType kDType>() {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float row_scale = has_row_scale ? operand.row_scale[m0 + r] : 1.0f;
      for (std::int64_t done = 0; done < columns; done += kFloatRun) {
        const std::int64_t count = std::min(kFloatRun, columns - done);
        finish_run<kDType>(args, m0 + r, n0 + done, count, row_scale, sums + r * columns + done);
      }
    }
  });
}

// One run of one row: scale, bias, roundings, store. Each loop has one subject, which keeps them
// vectorized.
template <DType kDType>
void FloatLinear::finish_run(const LinearArgs& args, std::int64_t m, std::int64_t n,
                             std::int64_t count, float row_scale,
                             const float* sums) const noexcept {
  float v[kFloatRun];
  for (std::int64_t i = 0; i < count; ++i)
    v[i] = (rounds_product_ ? round_to(kDType, sums[i]) : sums[i]) * row_scale;
  if (!column_scale_.empty()) {
    const float* scale = column_scale_.data() + n;
    for (std::int64_t i = 0; i < count; ++i) v[i] *= scale[i];
  }
  if (args.bias != nullptr) {
    float bias[kFloatRun];
    load_floats(activation_dtype_, args.bias, n, count, bias);
    for (std::int64_t i = 0; i < count; ++i)
      v[i] = (rounds_before_bias_ ? round_to(kDType, v[i]) : v[i]) + round_to(kDType, bias[i]);
  }
  if (kDType != activation_dtype_) {
    for (std::int64_t i = 0; i < count; ++i) v[i] = round_to(kDType, v[i]);
  }
  store_floats(activation_dtype_, args.y, m * args.y_stride + n, count, v);
}

}  // namespace torchao_cpp
