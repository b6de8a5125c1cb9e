// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_preshuffled_tensor.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "base/parallel.h"
#include "core/block_slice.h"
#include "core/float8_quant.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "torchao_cpp/error.h"
#include "workflows/int4/int4_choose_qparams.h"
#include "workflows/int4/int4_dequantize.h"
#include "workflows/int4/int4_packing.h"
#include "workflows/int4/int4_parts.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Int4PreshuffledTensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "group_scale"};
constexpr std::array<std::string_view, 2> kOptionalDataNames{"group_zero", "row_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "shape"};
// The float8 form is a float8 weight to its kernels.
constexpr std::array<std::string_view, 2> kOperations{"int4_weight_only",
                                                      "float8_dynamic_activation_float8_weight"};

constexpr DType kTableDType = DType::kFloat8E4M3FN;
constexpr std::int64_t kTableSize = 8;
// MSLK's lower bound on max|row|, of weights and of activations.
constexpr double kMinRowMax = 1.0 / 512.0;

Int4Shuffle shuffle_order(DType activation_dtype) noexcept {
  return activation_dtype == DType::kBFloat16 ? Int4Shuffle::kBFloat16 : Int4Shuffle::kFloat8;
}

std::string layout_problem(std::int64_t n, std::int64_t k, DType activation_dtype) {
  const std::int64_t columns = shuffle_columns(shuffle_order(activation_dtype));
  if (n % kShuffleRows == 0 && k % columns == 0) return {};
  return fmt::format(
      "{} [{}, {}]: the order for {} activations takes rows in {}s and columns in {}s", kClassName,
      n, k, dtype_name(activation_dtype), kShuffleRows, columns);
}

// Scales [N, K/g], rounded to float8, to the table [K/g, N, 8].
Tensor make_table(const Tensor& scale) {
  const std::int64_t n = scale.shape()[0];
  const std::int64_t groups = scale.shape()[1];
  Tensor table = Tensor::empty(kTableDType, {groups, n, kTableSize});
  auto* out = table.mutable_data<std::uint8_t>();
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const float unrounded = load_float(scale.dtype(), scale.bytes(), row * groups + g);
      std::uint8_t code = 0;
      encode_floats(kTableDType, &unrounded, 1, &code);
      const float s = decode_float(kTableDType, code);
      std::array<float, kTableSize> multiples{};
      for (std::size_t i = 0; i < multiples.size(); ++i)
        multiples[i] = s * (static_cast<float>(i) - 8.0f);
      encode_floats(kTableDType, multiples.data(), kTableSize, out + (g * n + row) * kTableSize);
    }
  }
  return table;
}

// The float8 number of each code from -8 to 7, by nibble.
std::array<std::uint8_t, 16> values_by_nibble(const std::uint8_t* table) noexcept {
  std::array<std::uint8_t, 16> values{};
  for (std::size_t i = 0; i < kTableSize; ++i) values[8 + i] = table[i];
  for (std::size_t i = 1; i < kTableSize; ++i)
    values[i] = static_cast<std::uint8_t>(table[kTableSize - i] ^ 0x80);
  return values;
}

}  // namespace

const WeightTensorType kInt4PreshuffledTensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = false,
    .operations = kOperations,
    .from_parts = &Int4PreshuffledTensor::from_parts,
};

DType Int4PreshuffledTensor::activation_dtype() const noexcept {
  return has_float8_activation() ? kTableDType : DType::kBFloat16;
}

WeightTensorPtr Int4PreshuffledTensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kInt4PreshuffledTensorType, parts, fqn);
  const auto [n, k, group_size] = read_int4_layout(reader, DType::kInt8, 2);
  Data d;
  d.group_size = group_size;
  d.group_zero = reader.tensor("group_zero");
  d.row_scale = reader.tensor("row_scale");
  if (d.group_zero.defined() == d.row_scale.defined()) {
    reader.fail("ao.missing_data",
                "needs either 'group_zero' (bfloat16 activations) or 'row_scale' (float8 ones)");
  }
  const DType activation = d.row_scale.defined() ? kTableDType : DType::kBFloat16;
  const std::string problem = layout_problem(n, k, activation);
  if (!problem.empty()) reader.fail("ao.shape_mismatch", problem);
  d.group_scale = reader.tensor("group_scale");
  reader.expect_dtype("group_scale", {activation});
  const std::int64_t groups = k / d.group_size;
  if (d.row_scale.defined()) {
    reader.expect_shape("group_scale", {groups, kTableSize, n});
    reader.expect_dtype("row_scale", {DType::kFloat32});
    reader.expect_shape("row_scale", {n});
    d.group_scale = d.group_scale.reshape({groups, n, kTableSize});
  } else {
    reader.expect_shape("group_scale", {groups, n});
    reader.expect_dtype("group_zero", {DType::kBFloat16});
    reader.expect_shape("group_zero", {groups, n});
  }
  d.qdata = unshuffle_nibbles(reader.tensor("qdata"), shuffle_order(activation));
  return std::make_shared<Int4PreshuffledTensor>(std::move(d));
}

std::string Int4PreshuffledTensor::shape_problem(const Shape& shape, std::int64_t group_size,
                                                 DType activation_dtype) {
  if (group_size <= 1 || shape[1] % group_size != 0) {
    return fmt::format(
        "{}: weight {} with group size {}: the last dimension must be divisible by "
        "a group size above 1",
        kClassName, shape_to_string(shape), group_size);
  }
  return layout_problem(shape[0], shape[1], activation_dtype);
}

WeightTensorPtr Int4PreshuffledTensor::from_hp(const Tensor& weight, std::int64_t group_size,
                                               DType activation_dtype) {
  check_weight_matrix(weight, kClassName);
  if (activation_dtype != DType::kBFloat16 && activation_dtype != kTableDType) {
    throw UnsupportedError(fmt::format(
        "{}: activation dtype {} is not supported, supported ones are bfloat16 and float8_e4m3fn",
        kClassName, dtype_name(activation_dtype)));
  }
  const std::string problem = shape_problem(weight.shape(), group_size, activation_dtype);
  if (!problem.empty()) throw ShapeError(problem);
  Data d;
  d.group_size = group_size;
  if (activation_dtype == DType::kBFloat16) {
    const Int4Groups q = quantize_int4_row_zp_gpu(weight, group_size);
    d.qdata = q.codes;
    d.group_scale = q.scale.transposed();
    d.group_zero = q.zero_point.transposed();
    return std::make_shared<Int4PreshuffledTensor>(std::move(d));
  }
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const Float8Quantized rows = quantize_float8_weight(
      weight, {1, k}, {DType::kFloat32, kTableDType, kMinRowMax, std::nullopt});
  // float8 numbers and an eighth of one are exact in bfloat16.
  const Tensor one = Tensor::from_values<float>(DType::kFloat32, {1, 1}, std::array{1.0f});
  const Int4Groups q = quantize_int4_row_symmetric(
      dequantize_float8_weight(rows.qdata, one, {n, k}, DType::kBFloat16), group_size);
  d.qdata = q.codes;
  d.group_scale = make_table(q.scale);
  d.row_scale = rows.scale.reshape({n});
  return std::make_shared<Int4PreshuffledTensor>(std::move(d));
}

Tensor Int4PreshuffledTensor::float8_values() const {
  const std::int64_t n = shape()[0];
  const std::int64_t k = shape()[1];
  Tensor out = Tensor::empty(kTableDType, {n, k});
  auto* to = out.mutable_data<std::uint8_t>();
  const auto* codes = data_.qdata.data<std::uint8_t>();
  const auto* tables = data_.group_scale.data<std::uint8_t>();
  const std::int64_t g = data_.group_size;
  parallel_for(n, row_grain(k), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0; c < k; c += g) {
        const auto values = values_by_nibble(tables + (c / g * n + row) * kTableSize);
        for (std::int64_t i = row * k + c; i < row * k + c + g; ++i)
          to[i] = values[codes[i / 2] >> (i % 2 * 4) & 15];
      }
    }
  });
  return out;
}

Tensor Int4PreshuffledTensor::dequantize(std::optional<DType> output_dtype) const {
  const Shape s = shape();
  if (has_float8_activation()) {
    return dequantize_float8_weight(float8_values(), data_.row_scale.reshape({s[0], 1}), {1, s[1]},
                                    output_dtype.value_or(dtype()));
  }
  const Int4Dequantize run{unpack_nibbles(data_.qdata), data_.group_scale.transposed(),
                           data_.group_zero.transposed(), data_.group_size, 0};
  return run(s[0], s[1], output_dtype.value_or(dtype()));
}

TensorParts Int4PreshuffledTensor::to_parts() const {
  const Shape s = shape();
  TensorParts out;
  out.class_name = kClassName;
  out.attributes =
      dump_json_python(Json{{"block_size", block_size_attribute({1, data_.group_size})},
                            {"shape", Json::array({s[0], s[1]})}});
  if (has_float8_activation()) {
    out.parts.emplace_back("row_scale", data_.row_scale);
  } else {
    out.parts.emplace_back("group_zero", data_.group_zero);
  }
  out.parts.emplace_back("qdata", shuffle_nibbles(data_.qdata, shuffle_order(activation_dtype())));
  const Shape& scale = data_.group_scale.shape();
  out.parts.emplace_back("group_scale", has_float8_activation() ? data_.group_scale.reshape(
                                                                      {scale[0], kTableSize, s[0]})
                                                                : data_.group_scale);
  return out;
}

// Canonical form, bfloat16 activations: as Int4Tensor. float8 ones: the float8 numbers of the table
// with one scale a row; MSLK forms the activation's scales in float32 and bounds them. Bias added
// after rounding in both.
QuantizedWeight Int4PreshuffledTensor::to_quantized_weight() const {
  QuantizedWeight out;
  out.output_size = shape()[0];
  out.input_size = shape()[1];
  out.dtype = dtype();
  out.bias_rounding = BiasRounding::kSeparate;
  if (has_float8_activation()) {
    out.weight_dtype = kTableDType;
    out.qdata = float8_values();
    out.scale = data_.row_scale.reshape({out.output_size, 1});
    out.block_size = {1, out.input_size};
    out.activation.kind = ActivationQuant::Kind::kFloat8Dynamic;
    out.activation.dtype = DType::kFloat8E4M3FN;
    out.activation.granularity = PerRow{};
    out.activation.value_lb = kMinRowMax;
    out.activation.scale_dtype = DType::kFloat32;
    return out;
  }
  out.weight_dtype = DType::kInt4;
  out.codes_per_byte = 2;
  out.qdata = data_.qdata;
  out.scale = data_.group_scale.transposed();
  out.block_size = {1, data_.group_size};
  if (!is_all_zero(data_.group_zero)) {
    out.zero_point_domain = ZeroPointDomain::kFloat;
    out.zero_point = data_.group_zero.transposed();
  }
  return out;
}

WeightTensorPtr Int4PreshuffledTensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  const Shape s = shape();
  check_slice(kClassName, dim, start, end, dim == 0 ? s[0] : s[1]);
  const std::int64_t multiple =
      dim == 0 ? kShuffleRows : shuffle_columns(shuffle_order(activation_dtype()));
  if (start % multiple != 0 || end % multiple != 0) {
    throw ShapeError(
        fmt::format("{}: slice {}:{} of dimension {}; the ends must be multiples of {}", kClassName,
                    start, end, dim, multiple));
  }
  Data out = data_;
  if (dim == 0) {
    out.qdata = data_.qdata.narrow(0, start, end - start);
    out.group_scale = data_.group_scale.narrow(1, start, end - start);
    if (out.group_zero.defined()) out.group_zero = data_.group_zero.narrow(1, start, end - start);
    if (out.row_scale.defined()) out.row_scale = data_.row_scale.narrow(0, start, end - start);
    return std::make_shared<Int4PreshuffledTensor>(std::move(out));
  }
  const BlockSlice blocks = slice_blocks(kClassName, 1, start, end, s[1], data_.group_size);
  out.qdata = data_.qdata.narrow(1, start / 2, (end - start) / 2);
  out.group_scale = data_.group_scale.narrow(0, blocks.scale_start, blocks.scale_length);
  if (out.group_zero.defined())
    out.group_zero = data_.group_zero.narrow(0, blocks.scale_start, blocks.scale_length);
  out.group_size = blocks.block;
  return std::make_shared<Int4PreshuffledTensor>(std::move(out));
}

WeightTensorPtr Int4PreshuffledTensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> group_scale;
  std::vector<Tensor> group_zero;
  std::vector<Tensor> row_scale;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Int4PreshuffledTensor*>(part.get());
    if (other == nullptr) return nullptr;
    const Data& o = other->data_;
    if (o.group_size != data_.group_size || o.qdata.shape()[1] != data_.qdata.shape()[1] ||
        other->has_float8_activation() != has_float8_activation()) {
      return nullptr;
    }
    qdata.push_back(o.qdata);
    group_scale.push_back(o.group_scale);
    group_zero.push_back(o.group_zero);
    row_scale.push_back(o.row_scale);
  }
  Data out = data_;
  out.qdata = torchao_cpp::concat_rows(qdata);
  out.group_scale = concat_columns(group_scale);
  if (has_float8_activation()) {
    out.row_scale = torchao_cpp::concat_rows(row_scale);
  } else {
    out.group_zero = concat_columns(group_zero);
  }
  return std::make_shared<Int4PreshuffledTensor>(std::move(out));
}

std::string Int4PreshuffledTensor::describe() const {
  return fmt::format("int4 preshuffled, block [1, {}]{}", data_.group_size,
                     has_float8_activation() ? ", float8_e4m3fn dynamic activation PerRow" : "");
}

}  // namespace torchao_cpp
