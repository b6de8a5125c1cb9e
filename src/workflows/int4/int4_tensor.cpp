// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_tensor.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "core/block_slice.h"
#include "torchao_cpp/error.h"
#include "workflows/int4/int4_choose_qparams.h"
#include "workflows/int4/int4_dequantize.h"
#include "workflows/int4/int4_packing.h"
#include "workflows/int4/int4_parts.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Int4Tensor";
constexpr std::array<std::string_view, 3> kDataNames{"qdata", "scale", "zero_point"};
constexpr std::array<std::string_view, 1> kOptionalDataNames{"act_pre_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "shape"};
constexpr std::array<std::string_view, 1> kOptionalAttributeNames{"activation_dtype"};
constexpr std::array<std::string_view, 2> kOperations{"int4_weight_only",
                                                      "float8_dynamic_activation_int4_weight"};

}  // namespace

const WeightTensorType kInt4TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = true,
    .safetensors_versions = "0.14 to 0.18",
    .operations = kOperations,
    .from_parts = &Int4Tensor::from_parts,
};

WeightTensorPtr Int4Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kInt4TensorType, parts, fqn);
  const auto [n, k, group_size] = read_int4_layout(reader, DType::kInt8, 2);
  Data d;
  d.group_size = group_size;
  if (reader.attribute("activation_dtype") != nullptr) {
    d.activation_dtype = reader.dtype("activation_dtype", {DType::kBFloat16, DType::kFloat8E4M3FN});
  }
  const Shape scale_shape{k / d.group_size, n};
  reader.expect_dtype("scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("scale", scale_shape);
  reader.expect_dtype("zero_point", {reader.tensor("scale").dtype()});
  reader.expect_shape("zero_point", scale_shape);
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.zero_point = reader.tensor("zero_point");
  if (reader.act_pre_scale(k).defined()) d.act_pre_scale = reader.tensor("act_pre_scale");
  return std::make_shared<Int4Tensor>(std::move(d));
}

WeightTensorPtr Int4Tensor::from_hp(const Tensor& weight, std::int64_t group_size,
                                    DType activation_dtype) {
  check_weight_matrix(weight, kClassName);
  const std::int64_t k = weight.shape()[1];
  if (group_size <= 1 || k % group_size != 0 || k % 2 != 0) {
    throw ShapeError(fmt::format(
        "Int4Tensor: weight {} with group size {}: only groupwise quantization is supported, the "
        "last dimension must be even and divisible by the group size",
        shape_to_string(weight.shape()), group_size));
  }
  if (activation_dtype != DType::kBFloat16 && activation_dtype != DType::kFloat8E4M3FN) {
    throw UnsupportedError(fmt::format(
        "Int4Tensor: activation dtype {} is not supported, supported ones are bfloat16 and "
        "float8_e4m3fn",
        dtype_name(activation_dtype)));
  }
  const Int4Groups q = activation_dtype == DType::kBFloat16
                           ? quantize_int4_row_zp(weight, group_size)
                           : quantize_int4_row_symmetric(weight, group_size);
  Data d;
  d.qdata = q.codes;
  d.scale = q.scale.transposed();
  d.zero_point = q.zero_point.transposed();
  d.group_size = group_size;
  d.activation_dtype = activation_dtype;
  return std::make_shared<Int4Tensor>(std::move(d));
}

Tensor Int4Tensor::dequantize(std::optional<DType> output_dtype) const {
  const Shape s = shape();
  const Int4Dequantize run{unpack_nibbles(data_.qdata), data_.scale.transposed(),
                           data_.zero_point.transposed(), data_.group_size, 0};
  return run(s[0], s[1], output_dtype.value_or(dtype()));
}

TensorParts Int4Tensor::to_parts() const {
  const Shape s = shape();
  TensorParts out;
  out.class_name = kClassName;
  const Json attributes{{"activation_dtype", dtype_attribute(data_.activation_dtype)},
                        {"block_size", block_size_attribute({1, data_.group_size})},
                        {"shape", Json::array({s[0], s[1]})}};
  out.attributes = dump_json_python(attributes);
  if (data_.act_pre_scale.defined()) out.parts.emplace_back("act_pre_scale", data_.act_pre_scale);
  out.parts.emplace_back("qdata", data_.qdata);
  out.parts.emplace_back("scale", data_.scale);
  out.parts.emplace_back("zero_point", data_.zero_point);
  return out;
}

// Canonical form: the stored nibbles, scales and float zero points turned to [N, K/g]; w = q *
// scale + zero_point (a float that is added). Bias added after rounding. activation_dtype
// float8_e4m3fn quantizes each row of the activation to float8.
QuantizedWeight Int4Tensor::to_quantized_weight() const {
  QuantizedWeight out;
  out.output_size = shape()[0];
  out.input_size = shape()[1];
  out.weight_dtype = DType::kInt4;
  out.codes_per_byte = 2;
  out.qdata = data_.qdata;
  out.scale = data_.scale.transposed();
  out.block_size = {1, data_.group_size};
  if (!is_all_zero(data_.zero_point)) {
    out.zero_point_domain = ZeroPointDomain::kFloat;
    out.zero_point = data_.zero_point.transposed();
  }
  out.dtype = dtype();
  out.bias_rounding = BiasRounding::kSeparate;
  if (data_.act_pre_scale.defined())
    out.act_pre_scale = data_.act_pre_scale.reshape({out.input_size});
  if (data_.activation_dtype == DType::kFloat8E4M3FN) {
    out.activation.kind = ActivationQuant::Kind::kFloat8Dynamic;
    out.activation.dtype = DType::kFloat8E4M3FN;
    out.activation.granularity = PerRow{};
  }
  return out;
}

WeightTensorPtr Int4Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  const Shape s = shape();
  check_slice(kClassName, dim, start, end, dim == 0 ? s[0] : s[1]);
  Data out = data_;
  if (dim == 0) {
    out.qdata = data_.qdata.narrow(0, start, end - start);
    out.scale = data_.scale.narrow(1, start, end - start);
    out.zero_point = data_.zero_point.narrow(1, start, end - start);
    return std::make_shared<Int4Tensor>(std::move(out));
  }
  const BlockSlice blocks = slice_blocks(kClassName, 1, start, end, s[1], data_.group_size);
  if (start % 2 != 0 || end % 2 != 0) {
    throw ShapeError(
        fmt::format("Int4Tensor: slice {}:{} of dimension 1 cuts a byte of two codes; start and "
                    "end must be even",
                    start, end));
  }
  out.qdata = data_.qdata.narrow(1, start / 2, (end - start) / 2);
  out.scale = data_.scale.narrow(0, blocks.scale_start, blocks.scale_length);
  out.zero_point = data_.zero_point.narrow(0, blocks.scale_start, blocks.scale_length);
  out.group_size = blocks.block;
  if (data_.act_pre_scale.defined()) {
    out.act_pre_scale =
        data_.act_pre_scale.narrow(data_.act_pre_scale.dim() - 1, start, end - start);
  }
  return std::make_shared<Int4Tensor>(std::move(out));
}

WeightTensorPtr Int4Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  std::vector<Tensor> zero_point;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Int4Tensor*>(part.get());
    if (other == nullptr) return nullptr;
    const Data& o = other->data_;
    if (o.group_size != data_.group_size || o.activation_dtype != data_.activation_dtype ||
        o.qdata.shape()[1] != data_.qdata.shape()[1] || o.scale.dtype() != data_.scale.dtype() ||
        !same_or_absent(o.act_pre_scale, data_.act_pre_scale)) {
      return nullptr;
    }
    qdata.push_back(o.qdata);
    scale.push_back(o.scale);
    zero_point.push_back(o.zero_point);
  }
  Data out = data_;
  out.qdata = torchao_cpp::concat_rows(qdata);
  out.scale = concat_columns(scale);
  out.zero_point = concat_columns(zero_point);
  return std::make_shared<Int4Tensor>(std::move(out));
}

std::string Int4Tensor::describe() const {
  return fmt::format("int4, block [1, {}]{}{}", data_.group_size,
                     data_.activation_dtype == DType::kFloat8E4M3FN
                         ? ", float8_e4m3fn dynamic activation PerRow"
                         : "",
                     data_.act_pre_scale.defined() ? ", act_pre_scale" : "");
}

}  // namespace torchao_cpp
