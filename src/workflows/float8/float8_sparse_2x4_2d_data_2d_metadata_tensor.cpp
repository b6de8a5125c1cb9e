// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.h"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <vector>

#include "core/float8_quant.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Float8Sparse2x4_2DData2DMetadataTensor";
constexpr std::array<std::string_view, 3> kDataNames{"qdata", "sparse_metadata", "scale"};
constexpr std::array<std::string_view, 3> kOptionalAttributeNames{"block_size", "act_quant_kwargs",
                                                                  "dtype"};
constexpr std::int64_t kGroup = 4;
constexpr std::array<std::string_view, 1> kOperations{"float8_dynamic_activation_float8_weight"};

constexpr std::int64_t rounded_up(std::int64_t size, std::int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

Shape metadata_shape(std::int64_t n, std::int64_t k) {
  return {rounded_up(n, 64), rounded_up(k, 128) / 8};
}

/// Where the nibble of the four columns from k (a multiple of 4) of row n is.
struct MetadataNibble {
  std::int64_t byte = 0;
  int shift = 0;

  MetadataNibble(std::int64_t n, std::int64_t k, std::int64_t padded_n)
      : byte((k / 128 * padded_n + n) * 16 + k % 128 / 8), shift(k % 8 == 0 ? 0 : 4) {}
};

bool is_zero(std::uint8_t code) { return (code & 0x7f) == 0; }

/// The two codes that are kept of four, and their positions.
struct KeptPair {
  std::array<std::uint8_t, 2> code{};
  int position0 = 0;
  int position1 = 0;
};

// CUTLASS's choice: the first and the last that are not zero; with one alone the other end, with
// none position 0 twice.
KeptPair keep_two(const std::uint8_t* group) {
  int first = -1;
  int last = -1;
  for (int i = 0; i < kGroup; ++i) {
    if (is_zero(group[i])) continue;
    if (first < 0) first = i;
    last = i;
  }
  if (first < 0) return {};
  if (first == last) {
    if (first == 3) return {{0, group[3]}, 0, 3};
    return {{group[first], 0}, first, 3};
  }
  return {{group[first], group[last]}, first, last};
}

int count_nonzero(const std::uint8_t* group) {
  int count = 0;
  for (int i = 0; i < kGroup; ++i) count += is_zero(group[i]) ? 0 : 1;
  return count;
}

Tensor unpack(const Tensor& qdata, const Tensor& metadata, std::int64_t n, std::int64_t k) {
  Tensor dense = Tensor::zeros(DType::kFloat8E4M3FN, {n, k});
  auto* out = dense.mutable_data<std::uint8_t>();
  const auto* kept = qdata.data<std::uint8_t>();
  const auto* nibbles = metadata.data<std::uint8_t>();
  const std::int64_t padded_n = metadata.shape()[0];
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t c = 0; c < k; c += kGroup) {
      const MetadataNibble at(row, c, padded_n);
      const int nibble = nibbles[at.byte] >> at.shift & 15;
      const std::uint8_t* pair = kept + (row * k + c) / 2;
      std::uint8_t* group = out + row * k + c;
      group[nibble >> 2] = pair[1];
      if (!is_zero(pair[0])) group[nibble & 3] = pair[0];
    }
  }
  return dense;
}

}  // namespace

void check_2x4_sparsity(const Tensor& qdata, std::string_view name) {
  const std::int64_t k = qdata.shape()[1];
  const auto* codes = qdata.data<std::uint8_t>();
  for (std::int64_t i = 0; i < qdata.numel(); i += kGroup) {
    const int count = count_nonzero(codes + i);
    if (count <= 2) continue;
    throw ShapeError(fmt::format(
        "{} [{}, {}]: row {} has {} values other than zero in columns {} to {}; 2:4 sparsity "
        "allows two: prune the weight first",
        name, qdata.shape()[0], k, i / k, count, i % k, i % k + kGroup - 1));
  }
}

const WeightTensorType kFloat8Sparse2x4_2DData2DMetadataTensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = {},
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = false,
    .operations = kOperations,
    .from_parts = &Float8Sparse2x4_2DData2DMetadataTensor::from_parts,
};

std::string_view Float8Sparse2x4_2DData2DMetadataTensor::class_name() const noexcept {
  return kClassName;
}

WeightTensorPtr Float8Sparse2x4_2DData2DMetadataTensor::from_parts(const TensorParts& parts,
                                                                   std::string_view fqn) {
  const PartsReader reader(kFloat8Sparse2x4_2DData2DMetadataTensorType, parts, fqn);
  const auto [n, half_k] = reader.matrix_shape("qdata");
  const std::int64_t k = 2 * half_k;
  if (k % kGroup != 0) {
    reader.fail(
        "ao.shape_mismatch",
        fmt::format("'qdata' is [{}, {}]; expected an even number of columns, two for each four", n,
                    half_k));
  }
  reader.expect_dtype("qdata", {DType::kFloat8E4M3FN});
  reader.expect_dtype("sparse_metadata", {DType::kUInt8});
  reader.expect_shape("sparse_metadata", metadata_shape(n, k));
  reader.expect_dtype("scale", {DType::kFloat32});
  reader.expect_shape("scale", {n, 1});
  if (reader.attribute("block_size") != nullptr &&
      reader.block_size("block_size", n, k) != BlockSize{1, k})
    reader.fail("ao.shape_mismatch", fmt::format("block_size must be [1, {}], one scale a row", k));
  Float8Data d;
  d.qdata = unpack(reader.tensor("qdata"), reader.tensor("sparse_metadata"), n, k);
  d.scale = reader.tensor("scale");
  d.block_size = {1, k};
  d.attributes.act_quant_kwargs = read_float8_kwargs(reader, "act_quant_kwargs");
  d.attributes.dtype = reader.dtype("dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  return std::make_shared<Float8Sparse2x4_2DData2DMetadataTensor>(std::move(d));
}

WeightTensorPtr Float8Sparse2x4_2DData2DMetadataTensor::from_hp(
    const Tensor& weight, const Float8Attributes& attributes) {
  Float8Data d =
      quantize_float8_data(weight, DType::kFloat8E4M3FN, PerRow{}, attributes, kClassName);
  if (d.k() % kGroup != 0)
    throw ShapeError(
        fmt::format("{} [{}, {}]: K must be a multiple of 4", kClassName, d.n(), d.k()));
  check_2x4_sparsity(d.qdata, kClassName);
  return std::make_shared<Float8Sparse2x4_2DData2DMetadataTensor>(std::move(d));
}

Tensor Float8Sparse2x4_2DData2DMetadataTensor::dequantize(std::optional<DType> output_dtype) const {
  return dequantize_float8_weight(dense_.qdata, dense_.scale, dense_.block_size,
                                  output_dtype.value_or(dtype()));
}

TensorParts Float8Sparse2x4_2DData2DMetadataTensor::to_parts() const {
  const std::int64_t n = dense_.n();
  const std::int64_t k = dense_.k();
  Tensor qdata = Tensor::empty(DType::kFloat8E4M3FN, {n, k / 2});
  Tensor metadata = Tensor::zeros(DType::kUInt8, metadata_shape(n, k));
  auto* kept = qdata.mutable_data<std::uint8_t>();
  auto* nibbles = metadata.mutable_data<std::uint8_t>();
  const auto* codes = dense_.qdata.data<std::uint8_t>();
  for (std::int64_t row = 0; row < n; ++row) {
    for (std::int64_t c = 0; c < k; c += kGroup) {
      const KeptPair pair = keep_two(codes + row * k + c);
      std::memcpy(kept + (row * k + c) / 2, pair.code.data(), 2);
      const MetadataNibble at(row, c, metadata.shape()[0]);
      nibbles[at.byte] = static_cast<std::uint8_t>(
          nibbles[at.byte] | (pair.position0 | pair.position1 << 2) << at.shift);
    }
  }
  TensorParts out;
  out.class_name = kClassName;
  out.attributes = dump_json_python(
      Json{{"block_size", block_size_attribute(dense_.block_size)},
           {"act_quant_kwargs", float8_kwargs_attribute(dense_.attributes.act_quant_kwargs)},
           {"dtype", dtype_attribute(dtype())}});
  out.parts = {{"qdata", qdata}, {"sparse_metadata", metadata}, {"scale", dense_.scale}};
  return out;
}

QuantizedWeight Float8Sparse2x4_2DData2DMetadataTensor::to_quantized_weight() const {
  return float8_quantized_weight(dense_, kClassName);
}

WeightTensorPtr Float8Sparse2x4_2DData2DMetadataTensor::slice(int dim, std::int64_t start,
                                                              std::int64_t end) const {
  if (dim == 1 && (start % kGroup != 0 || end % kGroup != 0)) {
    throw ShapeError(fmt::format("{}: slice {}:{} of dimension 1; the ends must be multiples of 4",
                                 kClassName, start, end));
  }
  return std::make_shared<Float8Sparse2x4_2DData2DMetadataTensor>(
      slice_float8_data(dense_, dim, start, end, kClassName));
}

WeightTensorPtr Float8Sparse2x4_2DData2DMetadataTensor::concat_rows(
    std::span<const WeightTensorPtr> parts) const {
  std::vector<const Float8Data*> all;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Float8Sparse2x4_2DData2DMetadataTensor*>(part.get());
    if (other == nullptr) return nullptr;
    all.push_back(&other->dense_);
  }
  auto joined = concat_float8_rows(all);
  return joined ? std::make_shared<Float8Sparse2x4_2DData2DMetadataTensor>(std::move(*joined))
                : nullptr;
}

std::string Float8Sparse2x4_2DData2DMetadataTensor::describe() const {
  return "2:4 sparse " + describe_float8(dense_, false);
}

}  // namespace torchao_cpp
