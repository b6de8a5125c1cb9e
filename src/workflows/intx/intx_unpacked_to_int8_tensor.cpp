// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/intx_unpacked_to_int8_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/block_slice.h"
#include "core/parts_reader.h"
#include "torchao_cpp/error.h"
#include "workflows/intx/hqq_scale_only.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "IntxUnpackedToInt8Tensor";
constexpr std::string_view kInt8AsymPerToken = "int8_asym_per_token";
constexpr std::array<std::string_view, 3> kDataNames{"qdata", "scale", "zero_point"};
constexpr std::array<std::string_view, 4> kAttributeNames{"target_dtype", "block_size", "dtype",
                                                          "activation_quantization"};
constexpr std::array<std::string_view, 2> kOperations{"intx_weight_only",
                                                      "int8_dynamic_activation_intx_weight"};

bool read_activation_quantization(const PartsReader& reader) {
  const Json* value = reader.attribute("activation_quantization");
  if (value == nullptr) return false;
  if (*value != kInt8AsymPerToken) {
    reader.fail("ao.metadata_invalid",
                fmt::format("'activation_quantization' is {}; expected null or \"{}\"",
                            value->dump(), kInt8AsymPerToken));
  }
  return true;
}

bool codes_in_range(const Tensor& qdata, QuantRange range) noexcept {
  const auto codes = qdata.span<std::int8_t>();
  return std::all_of(codes.begin(), codes.end(),
                     [range](std::int8_t q) { return q >= range.min && q <= range.max; });
}

}  // namespace

const WeightTensorType kIntxUnpackedToInt8TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = true,
    .safetensors_versions = "0.14 to 0.18",
    .operations = kOperations,
    .from_parts = &IntxUnpackedToInt8Tensor::from_parts,
};

WeightTensorPtr IntxUnpackedToInt8Tensor::from_parts(const TensorParts& parts,
                                                     std::string_view fqn) {
  const PartsReader reader(kIntxUnpackedToInt8TensorType, parts, fqn);
  const auto [n, k] = reader.matrix_shape("qdata");
  Data d;
  reader.expect_dtype("qdata", {DType::kInt8});
  d.target_dtype =
      reader.dtype("target_dtype", {DType::kInt1, DType::kInt2, DType::kInt3, DType::kInt4,
                                    DType::kInt5, DType::kInt6, DType::kInt7, DType::kInt8});
  d.block_size = reader.block_size("block_size", n, k);
  d.dtype = reader.dtype("dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  d.int8_asym_per_token = read_activation_quantization(reader);
  const Shape scale_shape{n / d.block_size[0], k / d.block_size[1]};
  reader.expect_dtype("scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("scale", scale_shape);
  reader.expect_dtype("zero_point",
                      {DType::kInt8, DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("zero_point", scale_shape);
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.zero_point = reader.tensor("zero_point");
  return std::make_shared<IntxUnpackedToInt8Tensor>(std::move(d));
}

WeightTensorPtr IntxUnpackedToInt8Tensor::from_hp(const Tensor& weight,
                                                  const IntxOptions& options) {
  check_weight_matrix(weight, kClassName);
  const std::int64_t k = weight.shape()[1];
  if (options.group_size <= 0 || k % options.group_size != 0) {
    throw ShapeError(fmt::format(
        "Expecting input size at 1 dimension: {} to be divisible by block_size at 1 dimension: {}",
        k, options.group_size));
  }
  const auto bits = signed_int_bits(options.target_dtype);
  if (!bits)
    throw UnsupportedError(fmt::format("{}: target dtype {} is not int1..int8", kClassName,
                                       dtype_name(options.target_dtype)));
  const QuantRange range = signed_quant_range(*bits);
  Data d;
  d.target_dtype = options.target_dtype;
  d.block_size = {1, options.group_size};
  d.dtype = weight.dtype();
  d.int8_asym_per_token = options.int8_asym_per_token;
  // The codes follow from the stored scale; torchao recomputes them after the cast and keeps the
  // zero points.
  const DType scale_dtype = options.scale_dtype.value_or(weight.dtype());
  if (options.algorithm == IntxChooseQParamsAlgorithm::kHqqScaleOnly) {
    const HqqScaleOnly q = quantize_hqq_scale_only(weight, options.group_size, range);
    d.scale = q.scale.to(scale_dtype);
    d.zero_point = Tensor::zeros(DType::kInt8, q.scale.shape());
    d.qdata = scale_dtype == weight.dtype()
                  ? q.qdata
                  : quantize_affine(weight, d.block_size, d.scale, d.zero_point, range);
  } else {
    AffineQuantized q = quantize_affine_weight(weight, d.block_size, options.mapping_type, range,
                                               scale_dtype);
    d.qdata = std::move(q.qdata);
    d.scale = std::move(q.scale);
    d.zero_point = std::move(q.zero_point);
  }
  return std::make_shared<IntxUnpackedToInt8Tensor>(std::move(d));
}

Tensor IntxUnpackedToInt8Tensor::dequantize(std::optional<DType> output_dtype) const {
  return dequantize_affine(data_.qdata, data_.block_size, data_.scale, data_.zero_point,
                           output_dtype.value_or(data_.dtype));
}

TensorParts IntxUnpackedToInt8Tensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  const Json attributes{
      {"target_dtype", dtype_attribute(data_.target_dtype)},
      {"block_size", block_size_attribute(data_.block_size)},
      {"dtype", dtype_attribute(data_.dtype)},
      {"activation_quantization",
       data_.int8_asym_per_token ? Json(std::string(kInt8AsymPerToken)) : Json(nullptr)}};
  out.attributes = dump_json_python(attributes);
  out.parts = {{"qdata", data_.qdata}, {"scale", data_.scale}, {"zero_point", data_.zero_point}};
  return out;
}

// Canonical form: codes one a byte, scales and zero points as stored. The weight means rne(rne(q -
// zero_point) * scale) in `dtype`, and the product with the activation is a float one with the bias
// fused. int8_asym_per_token quantizes the activation to int8 and back before that product.
QuantizedWeight IntxUnpackedToInt8Tensor::to_quantized_weight() const {
  QuantizedWeight out;
  out.output_size = data_.qdata.shape()[0];
  out.input_size = data_.qdata.shape()[1];
  // A file may hold codes outside target_dtype, which dequantize honours: then kernels must not
  // pack them narrower.
  const bool in_range = codes_in_range(
      data_.qdata, signed_quant_range(signed_int_bits(data_.target_dtype).value_or(8)));
  out.weight_dtype = in_range ? data_.target_dtype : DType::kInt8;
  out.qdata = data_.qdata;
  out.scale = data_.scale;
  out.block_size = data_.block_size;
  out.dtype = data_.dtype;
  out.bias_rounding = BiasRounding::kFused;
  if (!is_all_zero(data_.zero_point)) {
    out.zero_point_domain = ZeroPointDomain::kInt;
    out.zero_point = data_.zero_point;
  }
  if (data_.int8_asym_per_token) {
    out.activation.kind = ActivationQuant::Kind::kInt8AsymPerToken;
    out.activation.dtype = DType::kInt8;
    out.activation.granularity = PerRow{};
    out.activation.mapping_type = MappingType::kAsymmetric;
  }
  return out;
}

WeightTensorPtr IntxUnpackedToInt8Tensor::slice(int dim, std::int64_t start,
                                                std::int64_t end) const {
  check_slice(kClassName, dim, start, end,
              dim == 0 || dim == 1 ? data_.qdata.shape()[static_cast<std::size_t>(dim)] : 0);
  const auto d = static_cast<std::size_t>(dim);
  const BlockSlice blocks =
      slice_blocks(kClassName, dim, start, end, data_.qdata.shape()[d], data_.block_size[d]);
  Data out = data_;
  out.qdata = data_.qdata.narrow(dim, start, end - start);
  out.scale = data_.scale.narrow(dim, blocks.scale_start, blocks.scale_length);
  out.zero_point = data_.zero_point.narrow(dim, blocks.scale_start, blocks.scale_length);
  out.block_size[d] = blocks.block;
  return std::make_shared<IntxUnpackedToInt8Tensor>(std::move(out));
}

WeightTensorPtr IntxUnpackedToInt8Tensor::concat_rows(
    std::span<const WeightTensorPtr> parts) const {
  if (data_.block_size[0] != 1) return nullptr;
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  std::vector<Tensor> zero_point;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const IntxUnpackedToInt8Tensor*>(part.get());
    if (other == nullptr) return nullptr;
    const Data& o = other->data_;
    if (o.target_dtype != data_.target_dtype || o.block_size != data_.block_size ||
        o.dtype != data_.dtype || o.int8_asym_per_token != data_.int8_asym_per_token ||
        o.qdata.shape()[1] != data_.qdata.shape()[1] || o.scale.dtype() != data_.scale.dtype() ||
        o.zero_point.dtype() != data_.zero_point.dtype()) {
      return nullptr;
    }
    qdata.push_back(o.qdata);
    scale.push_back(o.scale);
    zero_point.push_back(o.zero_point);
  }
  Data out = data_;
  out.qdata = torchao_cpp::concat_rows(qdata);
  out.scale = torchao_cpp::concat_rows(scale);
  out.zero_point = torchao_cpp::concat_rows(zero_point);
  return std::make_shared<IntxUnpackedToInt8Tensor>(std::move(out));
}

std::string IntxUnpackedToInt8Tensor::describe() const {
  return fmt::format("{}, block [{}, {}]{}", dtype_name(data_.target_dtype), data_.block_size[0],
                     data_.block_size[1], data_.int8_asym_per_token ? ", int8_asym_per_token" : "");
}

}  // namespace torchao_cpp
