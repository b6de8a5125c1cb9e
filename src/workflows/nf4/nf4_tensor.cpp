// SPDX-License-Identifier: Apache-2.0
#include "workflows/nf4/nf4_tensor.h"

#include <fmt/format.h>

#include <array>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "core/affine.h"
#include "core/attribute_values.h"
#include "core/block_slice.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "torchao_cpp/error.h"
#include "workflows/nf4/nf4_quant.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "NF4Tensor";
constexpr std::array<std::string_view, 5> kDataNames{
    "quantized_data", "scaler_mean", "quantization_factor", "quantized_scalers", "nf4"};
constexpr std::array<std::string_view, 4> kAttributeNames{"block_size", "n_blocks",
                                                          "scaler_block_size", "shape"};
constexpr std::int64_t kTableSize = 16;
constexpr std::array<std::string_view, 1> kOperations{"nf4_weight_only"};

std::int64_t read_positive(const PartsReader& reader, std::string_view name) {
  const std::int64_t value = integer_value(reader, reader.required_attribute(name), name);
  if (value <= 0)
    reader.fail("ao.metadata_invalid",
                fmt::format("'{}' is {}; expected a positive integer", name, value));
  return value;
}

void expect_blocks(const PartsReader& reader, const NF4Tensor::Data& d, std::int64_t numel) {
  if (d.block_size % 2 != 0 || numel % d.block_size != 0 ||
      numel / d.block_size % d.scaler_block_size != 0) {
    reader.fail("ao.shape_mismatch",
                fmt::format("{} elements are no whole number of groups of {} blocks of {}", numel,
                            d.scaler_block_size, d.block_size));
  }
  const std::int64_t n_blocks = read_positive(reader, "n_blocks");
  if (n_blocks != numel / d.block_size) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'n_blocks' is {}; expected {}", n_blocks, numel / d.block_size));
  }
}

void check_from_hp(const Tensor& weight, std::int64_t block_size, std::int64_t scaler_block_size) {
  check_weight_matrix(weight, kClassName);
  if (block_size <= 0 || block_size % 2 != 0 || weight.numel() % block_size != 0) {
    throw ShapeError(
        fmt::format("{}: Input tensor must be divisible by block size, got {} elements and {}",
                    kClassName, weight.numel(), block_size));
  }
  if (scaler_block_size <= 0 || weight.numel() / block_size % scaler_block_size != 0) {
    throw ShapeError(
        fmt::format("{}: Number of scalers must be divisible by scaler block size, got {} scalers "
                    "and scaler_block_size {}",
                    kClassName, weight.numel() / block_size, scaler_block_size));
  }
}

}  // namespace

const WeightTensorType kNF4TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = false,
    .operations = kOperations,
    .from_parts = &NF4Tensor::from_parts,
};

WeightTensorPtr NF4Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kNF4TensorType, parts, fqn);
  Data d;
  reader.expect_dtype("nf4", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  d.nf4 = reader.tensor("nf4");
  const DType dtype = d.nf4.dtype();
  reader.expect_shape("nf4", {kTableSize});
  reader.expect_dtype("quantized_data", {DType::kUInt8});
  reader.expect_dtype("quantized_scalers", {DType::kInt8});
  reader.expect_dtype("quantization_factor", {dtype});
  reader.expect_dtype("scaler_mean", {dtype});
  d.quantized_data = reader.tensor("quantized_data");
  d.quantized_scalers = reader.tensor("quantized_scalers");
  d.quantization_factor = reader.tensor("quantization_factor");
  d.scaler_mean = reader.tensor("scaler_mean");
  d.block_size = read_positive(reader, "block_size");
  d.scaler_block_size = read_positive(reader, "scaler_block_size");
  const std::vector<std::int64_t> shape = reader.integers("shape", 2);
  d.n = shape[0];
  d.k = shape[1];
  const std::int64_t stored = d.quantized_data.numel();
  // Divides instead of multiplying, so that no shape in a file can overflow.
  if (stored == 0 || stored * 2 % d.n != 0 || stored * 2 / d.n != d.k) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'shape' is {}, but 'quantized_data' holds {} elements",
                            shape_to_string(shape), stored * 2));
  }
  const std::int64_t numel = stored * 2;
  expect_blocks(reader, d, numel);
  reader.expect_shape("quantized_data", {stored});
  reader.expect_shape("quantized_scalers", {numel / d.block_size});
  reader.expect_shape("quantization_factor", {numel / d.block_size / d.scaler_block_size});
  reader.expect_shape("scaler_mean", {});
  return std::make_shared<NF4Tensor>(std::move(d));
}

WeightTensorPtr NF4Tensor::from_hp(const Tensor& weight, std::int64_t block_size,
                                   std::int64_t scaler_block_size) {
  check_from_hp(weight, block_size, scaler_block_size);
  Data d;
  d.block_size = block_size;
  d.scaler_block_size = scaler_block_size;
  d.n = weight.shape()[0];
  d.k = weight.shape()[1];
  d.nf4 = nf4_table(weight.dtype());
  const Tensor scalers = nf4_block_scalers(weight, block_size);
  d.quantized_data = nf4_indices(weight, scalers, block_size);
  NF4Scalers quantized = quantize_nf4_scalers(scalers, scaler_block_size);
  d.quantized_scalers = std::move(quantized.quantized);
  d.quantization_factor = std::move(quantized.factor);
  d.scaler_mean = std::move(quantized.mean);
  return std::make_shared<NF4Tensor>(std::move(d));
}

Tensor NF4Tensor::dequantized_scalers() const {
  return dequantize_nf4_scalers(
      {data_.quantized_scalers, data_.quantization_factor, data_.scaler_mean},
      data_.scaler_block_size);
}

Tensor NF4Tensor::dequantize(std::optional<DType> output_dtype) const {
  const DType dtype = data_.nf4.dtype();
  const Tensor scalers = dequantized_scalers();
  std::array<float, kTableSize> table;
  load_floats(dtype, data_.nf4.bytes(), 0, kTableSize, table.data());
  Tensor weight = Tensor::empty(dtype, {data_.n, data_.k});
  std::byte* out = weight.mutable_bytes();
  const auto* packed = data_.quantized_data.data<std::uint8_t>();
  const std::int64_t block_size = data_.block_size;
  parallel_for(scalers.numel(), row_grain(block_size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const float scale = load_float(dtype, scalers.bytes(), b);
      for (std::int64_t i = b * block_size; i < (b + 1) * block_size; i += 2) {
        store_float(dtype, out, i, table[packed[i / 2] >> 4] * scale);
        store_float(dtype, out, i + 1, table[packed[i / 2] & 15] * scale);
      }
    }
  });
  return weight.to(output_dtype.value_or(dtype));
}

TensorParts NF4Tensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  out.attributes = dump_json_python(Json{{"block_size", data_.block_size},
                                         {"n_blocks", data_.quantized_scalers.numel()},
                                         {"scaler_block_size", data_.scaler_block_size},
                                         {"shape", Json::array({data_.n, data_.k})}});
  out.parts = {{"quantized_data", data_.quantized_data},
               {"scaler_mean", data_.scaler_mean},
               {"quantization_factor", data_.quantization_factor},
               {"quantized_scalers", data_.quantized_scalers},
               {"nf4", data_.nf4}};
  return out;
}

// Canonical form: table indices two a byte with the even column in the low nibble (stored: high),
// scales dequantized to the weight's dtype. torchao dequantizes the weight and adds the bias after
// rounding.
QuantizedWeight NF4Tensor::to_quantized_weight() const {
  if (data_.k % data_.block_size != 0) {
    throw UnsupportedError(
        fmt::format("{} [{}, {}]: blocks of {} cross the ends of rows; K must be a multiple of {}",
                    kClassName, data_.n, data_.k, data_.block_size, data_.block_size));
  }
  QuantizedWeight out;
  out.output_size = data_.n;
  out.input_size = data_.k;
  out.weight_dtype = DType::kUInt4;
  out.codes_per_byte = 2;
  out.qdata = Tensor::empty(DType::kUInt8, {data_.n, data_.k / 2});
  auto* to = out.qdata.mutable_data<std::uint8_t>();
  const auto* from = data_.quantized_data.data<std::uint8_t>();
  for (std::int64_t i = 0; i < out.qdata.numel(); ++i) {
    to[i] = static_cast<std::uint8_t>((from[i] >> 4) | (from[i] << 4));
  }
  out.scale = dequantized_scalers().reshape({data_.n, data_.k / data_.block_size});
  out.block_size = {1, data_.block_size};
  out.codebook = data_.nf4;
  out.dtype = data_.nf4.dtype();
  out.bias_rounding = BiasRounding::kSeparate;
  return out;
}

WeightTensorPtr NF4Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  check_slice(kClassName, dim, start, end, dim == 0 ? data_.n : data_.k);
  // Rows that hold whole groups of scalers.
  const std::int64_t group = data_.block_size * data_.scaler_block_size;
  const std::int64_t step = group / std::gcd(group, data_.k);
  if (dim == 1 || start % step != 0 || end % step != 0) {
    throw ShapeError(fmt::format(
        "{}: slice {}:{} of dimension {} cuts through groups of {} elements; rows in multiples of "
        "{} work",
        kClassName, start, end, dim, group, step));
  }
  const std::int64_t first = start * data_.k;
  const std::int64_t count = (end - start) * data_.k;
  Data out = data_;
  out.n = end - start;
  out.quantized_data = data_.quantized_data.narrow(0, first / 2, count / 2);
  out.quantized_scalers =
      data_.quantized_scalers.narrow(0, first / data_.block_size, count / data_.block_size);
  out.quantization_factor = data_.quantization_factor.narrow(0, first / group, count / group);
  return std::make_shared<NF4Tensor>(std::move(out));
}

WeightTensorPtr NF4Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> quantized_data;
  std::vector<Tensor> quantized_scalers;
  std::vector<Tensor> quantization_factor;
  Data out = data_;
  out.n = 0;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const NF4Tensor*>(part.get());
    // The mean is shared by the whole tensor, so parts with other means cannot be one.
    if (other == nullptr || other->data_.k != data_.k ||
        other->data_.block_size != data_.block_size ||
        other->data_.scaler_block_size != data_.scaler_block_size ||
        !equal_bytes(other->data_.scaler_mean, data_.scaler_mean) ||
        !equal_bytes(other->data_.nf4, data_.nf4)) {
      return nullptr;
    }
    out.n += other->data_.n;
    quantized_data.push_back(other->data_.quantized_data);
    quantized_scalers.push_back(other->data_.quantized_scalers);
    quantization_factor.push_back(other->data_.quantization_factor);
  }
  out.quantized_data = torchao_cpp::concat_rows(quantized_data);
  out.quantized_scalers = torchao_cpp::concat_rows(quantized_scalers);
  out.quantization_factor = torchao_cpp::concat_rows(quantization_factor);
  return std::make_shared<NF4Tensor>(std::move(out));
}

std::string NF4Tensor::describe() const {
  return fmt::format("nf4, blocks of {}, scalers in groups of {}", data_.block_size,
                     data_.scaler_block_size);
}

}  // namespace torchao_cpp
