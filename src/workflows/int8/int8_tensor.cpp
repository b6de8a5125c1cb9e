// SPDX-License-Identifier: Apache-2.0
#include "workflows/int8/int8_tensor.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "core/block_slice.h"
#include "core/parts_reader.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Int8Tensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale"};
constexpr std::array<std::string_view, 4> kOptionalDataNames{
    "zero_point", "act_quant_scale", "act_quant_zero_point", "act_pre_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "dtype"};
constexpr std::array<std::string_view, 2> kOptionalAttributeNames{"act_quant_kwargs",
                                                                  "reduce_range"};
constexpr std::array<std::string_view, 3> kOperations{"int8_weight_only",
                                                      "int8_dynamic_activation_int8_weight",
                                                      "int8_static_activation_int8_weight"};

std::optional<QuantizeTensorToInt8Kwargs> read_act_quant_kwargs(const PartsReader& reader) {
  const Json* value = reader.attribute("act_quant_kwargs");
  if (value == nullptr) return std::nullopt;
  const Json& data = reader.tagged(*value, "QuantizeTensorToInt8Kwargs", "act_quant_kwargs");
  if (!data.is_object()) reader.fail("ao.metadata_invalid", "'act_quant_kwargs' holds no object");
  QuantizeTensorToInt8Kwargs kwargs;
  for (const auto& [name, field] : data.items()) {
    if (name == "granularity") {
      kwargs.granularity = reader.granularity(field, "act_quant_kwargs.granularity");
    } else if (name == "mapping_type") {
      kwargs.mapping_type = reader.mapping_type(field, "act_quant_kwargs.mapping_type");
    } else if (name == "reduce_range" && (field.is_boolean() || field.is_null())) {
      kwargs.reduce_range = field.is_boolean() && field.get<bool>();
    } else {
      reader.fail("ao.metadata_invalid",
                  fmt::format("'act_quant_kwargs' has an unexpected field '{}'", name));
    }
  }
  if (const auto* row = std::get_if<PerRow>(&kwargs.granularity);
      row != nullptr && row->dim != -1) {
    reader.fail(
        "ao.metadata_invalid",
        fmt::format("'act_quant_kwargs' has PerRow(dim={}); activations take PerRow(dim=-1)",
                    row->dim));
  }
  if (kwargs.mapping_type == MappingType::kSymmetricNoClippingErr) {
    reader.fail("ao.metadata_invalid",
                "'act_quant_kwargs' has mapping_type SYMMETRIC_NO_CLIPPING_ERR; expected SYMMETRIC "
                "or ASYMMETRIC");
  }
  return kwargs;
}

void check_activation_parts(const PartsReader& reader, const Int8Tensor::Data& d) {
  if (d.act_quant_scale.defined()) {
    reader.expect_dtype("act_quant_scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
    if (!d.act_quant_kwargs)
      reader.fail("ao.metadata_invalid",
                  "'act_quant_scale' is there but 'act_quant_kwargs' is null");
    if (d.act_quant_scale.numel() != 1) {
      reader.fail("ao.shape_mismatch",
                  fmt::format("'act_quant_scale' has shape {}; expected one element",
                              shape_to_string(d.act_quant_scale.shape())));
    }
  }
  if (d.act_quant_zero_point.defined()) {
    reader.expect_dtype("act_quant_zero_point", {DType::kInt8});
    if (!d.act_quant_scale.defined())
      reader.fail("ao.missing_data", "'act_quant_zero_point' is there without 'act_quant_scale'");
    reader.expect_shape("act_quant_zero_point", d.act_quant_scale.shape());
  }
}

Json act_quant_kwargs_attribute(const std::optional<QuantizeTensorToInt8Kwargs>& kwargs) {
  if (!kwargs) return nullptr;
  return Json{{"_type", "QuantizeTensorToInt8Kwargs"},
              {"_data", Json{{"granularity", granularity_attribute(kwargs->granularity)},
                             {"mapping_type", mapping_type_attribute(kwargs->mapping_type)},
                             {"reduce_range", kwargs->reduce_range}}}};
}

Tensor slice_scales(const Tensor& scales, int dim, const BlockSlice& blocks) {
  return scales.defined() ? scales.narrow(dim, blocks.scale_start, blocks.scale_length) : Tensor{};
}

ActivationQuant activation_quant(const Int8Tensor::Data& d) {
  ActivationQuant act;
  act.kind = d.act_quant_scale.defined() ? ActivationQuant::Kind::kInt8Static
                                         : ActivationQuant::Kind::kInt8Dynamic;
  act.dtype = DType::kInt8;
  act.granularity = d.act_quant_kwargs->granularity;
  act.mapping_type = d.act_quant_kwargs->mapping_type;
  act.reduce_range = d.act_quant_kwargs->reduce_range;
  if (d.act_quant_scale.defined()) act.scale = d.act_quant_scale.to(DType::kFloat32);
  act.zero_point = d.act_quant_zero_point;
  return act;
}

}  // namespace

const WeightTensorType kInt8TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = true,
    .safetensors_versions = "0.16 to 0.18",
    .operations = kOperations,
    .from_parts = &Int8Tensor::from_parts,
};

WeightTensorPtr Int8Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kInt8TensorType, parts, fqn);
  const auto [n, k] = reader.matrix_shape("qdata");
  Data d;
  reader.expect_dtype("qdata", {DType::kInt8});
  d.block_size = reader.block_size("block_size", n, k);
  d.dtype = reader.dtype("dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  d.act_quant_kwargs = read_act_quant_kwargs(reader);
  d.reduce_range = reader.boolean("reduce_range", false);
  const Shape scale_shape{n / d.block_size[0], k / d.block_size[1]};
  reader.expect_dtype("scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("scale", scale_shape);
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.zero_point = reader.tensor("zero_point");
  if (d.zero_point.defined()) {
    reader.expect_dtype("zero_point", {DType::kInt8});
    reader.expect_shape("zero_point", scale_shape);
  }
  d.act_quant_scale = reader.tensor("act_quant_scale");
  d.act_quant_zero_point = reader.tensor("act_quant_zero_point");
  check_activation_parts(reader, d);
  if (reader.act_pre_scale(k).defined()) d.act_pre_scale = reader.tensor("act_pre_scale");
  return std::make_shared<Int8Tensor>(std::move(d));
}

WeightTensorPtr Int8Tensor::from_hp(const Tensor& weight, const Int8Options& options) {
  check_weight_matrix(weight, kClassName);
  Data d;
  d.block_size =
      block_size_from_granularity(options.granularity, weight.shape()[0], weight.shape()[1]);
  d.dtype = weight.dtype();
  d.act_quant_kwargs = options.act_quant_kwargs;
  d.act_quant_scale = options.act_quant_scale;
  d.act_quant_zero_point = options.act_quant_zero_point;
  d.reduce_range = options.reduce_range;
  const QuantRange range = options.reduce_range ? QuantRange{-64, 63} : QuantRange{-128, 127};
  // torchao takes float32's epsilon for every dtype here, not the smallest normal number.
  AffineQuantized q = quantize_affine_weight(weight, d.block_size, MappingType::kSymmetric, range,
                                             DType::kFloat32, 0x1p-23f);
  d.qdata = std::move(q.qdata);
  d.scale = std::move(q.scale);
  d.zero_point = std::move(q.zero_point);
  return std::make_shared<Int8Tensor>(std::move(d));
}

Tensor Int8Tensor::dequantize(std::optional<DType> output_dtype) const {
  return dequantize_affine(data_.qdata, data_.block_size, data_.scale, data_.zero_point,
                           output_dtype.value_or(data_.dtype));
}

TensorParts Int8Tensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  const Json attributes{{"act_quant_kwargs", act_quant_kwargs_attribute(data_.act_quant_kwargs)},
                        {"reduce_range", data_.reduce_range},
                        {"block_size", block_size_attribute(data_.block_size)},
                        {"dtype", dtype_attribute(data_.dtype)}};
  out.attributes = dump_json_python(attributes);
  const std::pair<std::string_view, const Tensor*> tensors[] = {
      {"zero_point", &data_.zero_point},
      {"act_quant_scale", &data_.act_quant_scale},
      {"act_quant_zero_point", &data_.act_quant_zero_point},
      {"act_pre_scale", &data_.act_pre_scale},
      {"qdata", &data_.qdata},
      {"scale", &data_.scale},
  };
  for (const auto& [name, tensor] : tensors) {
    if (tensor->defined()) out.parts.emplace_back(name, *tensor);
  }
  return out;
}

// Canonical form: int8 codes one a byte, float32 scales of the stored blocks.
// Weight-only with one scale a row: torchao multiplies the activation with the bare codes, ignores
// the zero point, rounds, and scales the product (scale_after_product). Weight-only with smaller
// blocks: it dequantizes (zero point included). In both the bias is added after rounding. Dynamic
// and static activations: integer product with the codes, zero point of the weight ignored, bias in
// float32 before the last cast.
QuantizedWeight Int8Tensor::to_quantized_weight() const {
  QuantizedWeight out;
  out.output_size = data_.qdata.shape()[0];
  out.input_size = data_.qdata.shape()[1];
  out.weight_dtype = DType::kInt8;
  out.qdata = data_.qdata;
  // Exact: torchao 0.15 and 0.16 stored bf16 or f16 scales, and their float32 products round as
  // torchao's own.
  out.scale = data_.scale.to(DType::kFloat32);
  out.block_size = data_.block_size;
  out.dtype = data_.dtype;
  if (data_.act_pre_scale.defined())
    out.act_pre_scale = data_.act_pre_scale.reshape({out.input_size});
  const bool one_scale_a_row = data_.block_size[1] == out.input_size &&
                               (data_.block_size[0] == 1 || data_.block_size[0] == out.output_size);
  if (data_.act_quant_kwargs) {
    if (!one_scale_a_row) {
      throw UnsupportedError(fmt::format(
          "Int8Tensor [{}, {}] with block_size [{}, {}] and int8 activations: the integer "
          "product takes one scale a row or a tensor",
          out.output_size, out.input_size, data_.block_size[0], data_.block_size[1]));
    }
    out.bias_rounding = BiasRounding::kFused;
    out.activation = activation_quant(data_);
    return out;
  }
  out.bias_rounding = BiasRounding::kSeparate;
  out.scale_after_product = one_scale_a_row;
  if (!one_scale_a_row && !is_all_zero(data_.zero_point)) {
    out.zero_point_domain = ZeroPointDomain::kInt;
    out.zero_point = data_.zero_point;
  }
  return out;
}

WeightTensorPtr Int8Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  check_slice(kClassName, dim, start, end,
              dim == 0 || dim == 1 ? data_.qdata.shape()[static_cast<std::size_t>(dim)] : 0);
  const auto d = static_cast<std::size_t>(dim);
  const BlockSlice blocks =
      slice_blocks(kClassName, dim, start, end, data_.qdata.shape()[d], data_.block_size[d]);
  Data out = data_;
  out.qdata = data_.qdata.narrow(dim, start, end - start);
  out.scale = slice_scales(data_.scale, dim, blocks);
  out.zero_point = slice_scales(data_.zero_point, dim, blocks);
  out.block_size[d] = blocks.block;
  if (dim == 1 && data_.act_pre_scale.defined()) {
    out.act_pre_scale =
        data_.act_pre_scale.narrow(data_.act_pre_scale.dim() - 1, start, end - start);
  }
  return std::make_shared<Int8Tensor>(std::move(out));
}

WeightTensorPtr Int8Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  if (data_.block_size[0] != 1) return nullptr;
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  std::vector<Tensor> zero_point;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Int8Tensor*>(part.get());
    if (other == nullptr) return nullptr;
    const Data& o = other->data_;
    if (o.block_size != data_.block_size || o.dtype != data_.dtype ||
        o.act_quant_kwargs != data_.act_quant_kwargs || o.reduce_range != data_.reduce_range ||
        o.qdata.shape()[1] != data_.qdata.shape()[1] || o.scale.dtype() != data_.scale.dtype() ||
        o.zero_point.defined() != data_.zero_point.defined() ||
        !same_or_absent(o.act_quant_scale, data_.act_quant_scale) ||
        !same_or_absent(o.act_quant_zero_point, data_.act_quant_zero_point) ||
        !same_or_absent(o.act_pre_scale, data_.act_pre_scale)) {
      return nullptr;
    }
    qdata.push_back(o.qdata);
    scale.push_back(o.scale);
    if (o.zero_point.defined()) zero_point.push_back(o.zero_point);
  }
  Data out = data_;
  out.qdata = torchao_cpp::concat_rows(qdata);
  out.scale = torchao_cpp::concat_rows(scale);
  if (!zero_point.empty()) out.zero_point = torchao_cpp::concat_rows(zero_point);
  return std::make_shared<Int8Tensor>(std::move(out));
}

std::string Int8Tensor::describe() const {
  std::string text = fmt::format("int8, block [{}, {}]", data_.block_size[0], data_.block_size[1]);
  if (data_.act_quant_kwargs) {
    text += fmt::format(
        ", int8 {} activation {} {}", data_.act_quant_scale.defined() ? "static" : "dynamic",
        to_string(data_.act_quant_kwargs->granularity),
        data_.act_quant_kwargs->mapping_type == MappingType::kAsymmetric ? "asymmetric"
                                                                         : "symmetric");
  }
  if (data_.reduce_range) text += ", reduced range";
  if (data_.act_pre_scale.defined()) text += ", act_pre_scale";
  return text;
}

}  // namespace torchao_cpp
