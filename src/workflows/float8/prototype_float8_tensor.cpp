// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/prototype_float8_tensor.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "core/block_slice.h"
#include "core/float8_quant.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "PrototypeFloat8Tensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale"};
constexpr std::array<std::string_view, 2> kOptionalDataNames{"act_quant_scale",
                                                             "output_act_quant_scale"};
constexpr std::array<std::string_view, 6> kOptionalAttributeNames{
    "block_size",        "mm_config", "act_quant_kwargs",
    "kernel_preference", "dtype",     "output_act_quant_kwargs"};
constexpr std::array<std::string_view, 1> kOperations{"float8_static_activation_float8_weight"};

Tensor read_activation_scale(const PartsReader& reader, std::string_view name, bool has_kwargs) {
  const Tensor scale = reader.tensor(name);
  if (!scale.defined()) return {};
  reader.expect_dtype(name, {DType::kFloat32});
  if (scale.numel() != 1) {
    reader.fail("ao.shape_mismatch", fmt::format("'{}' has shape {}; expected one element", name,
                                                 shape_to_string(scale.shape())));
  }
  if (!has_kwargs) {
    reader.fail("ao.metadata_invalid",
                fmt::format("'{}' is there, but the attributes that use it are null", name));
  }
  return scale;
}

}  // namespace

const WeightTensorType kPrototypeFloat8TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = {},
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = false,
    .operations = kOperations,
    .from_parts = &PrototypeFloat8Tensor::from_parts,
};

WeightTensorPtr PrototypeFloat8Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kPrototypeFloat8TensorType, parts, fqn);
  Data d;
  d.base = read_float8_data(reader);
  d.output_act_quant_kwargs = read_float8_kwargs(reader, "output_act_quant_kwargs");
  d.act_quant_scale = read_activation_scale(reader, "act_quant_scale",
                                            d.base.attributes.act_quant_kwargs.has_value());
  d.output_act_quant_scale = read_activation_scale(reader, "output_act_quant_scale",
                                                   d.output_act_quant_kwargs.has_value());
  return std::make_shared<PrototypeFloat8Tensor>(std::move(d));
}

WeightTensorPtr PrototypeFloat8Tensor::from_hp(const Tensor& weight, DType float8_dtype,
                                               const Float8Attributes& attributes,
                                               const Tensor& act_quant_scale) {
  Data d;
  d.base = quantize_float8_data(weight, float8_dtype, PerTensor{}, attributes, kClassName);
  d.act_quant_scale = act_quant_scale;
  return std::make_shared<PrototypeFloat8Tensor>(std::move(d));
}

Tensor PrototypeFloat8Tensor::dequantize(std::optional<DType> output_dtype) const {
  const Float8Data& d = data_.base;
  return dequantize_float8_weight(d.qdata, d.scale, d.block_size, output_dtype.value_or(dtype()));
}

TensorParts PrototypeFloat8Tensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  Json attributes = float8_attributes(data_.base);
  attributes["output_act_quant_kwargs"] = float8_kwargs_attribute(data_.output_act_quant_kwargs);
  out.attributes = dump_json_python(attributes);
  if (data_.act_quant_scale.defined())
    out.parts.emplace_back("act_quant_scale", data_.act_quant_scale);
  if (data_.output_act_quant_scale.defined()) {
    out.parts.emplace_back("output_act_quant_scale", data_.output_act_quant_scale);
  }
  out.parts.emplace_back("qdata", data_.base.qdata);
  out.parts.emplace_back("scale", data_.base.scale);
  return out;
}

QuantizedWeight PrototypeFloat8Tensor::to_quantized_weight() const {
  if (data_.output_act_quant_kwargs) {
    throw UnsupportedError(
        fmt::format("{} [{}, {}]: output_act_quant_kwargs asks for a quantized output, which no "
                    "linear here gives",
                    kClassName, data_.base.n(), data_.base.k()));
  }
  QuantizedWeight out = float8_quantized_weight(data_.base, kClassName);
  if (data_.act_quant_scale.defined()) {
    out.activation.kind = ActivationQuant::Kind::kFloat8Static;
    out.activation.scale = data_.act_quant_scale;
  }
  return out;
}

WeightTensorPtr PrototypeFloat8Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  Data out = data_;
  out.base = slice_float8_data(data_.base, dim, start, end, kClassName);
  return std::make_shared<PrototypeFloat8Tensor>(std::move(out));
}

WeightTensorPtr PrototypeFloat8Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<const Float8Data*> all;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const PrototypeFloat8Tensor*>(part.get());
    if (other == nullptr || !same_or_absent(other->data_.act_quant_scale, data_.act_quant_scale) ||
        !same_or_absent(other->data_.output_act_quant_scale, data_.output_act_quant_scale) ||
        other->data_.output_act_quant_kwargs != data_.output_act_quant_kwargs) {
      return nullptr;
    }
    all.push_back(&other->data_.base);
  }
  auto joined = concat_float8_rows(all);
  if (!joined) return nullptr;
  Data out = data_;
  out.base = std::move(*joined);
  return std::make_shared<PrototypeFloat8Tensor>(std::move(out));
}

std::string PrototypeFloat8Tensor::describe() const {
  return describe_float8(data_.base, data_.act_quant_scale.defined());
}

}  // namespace torchao_cpp
