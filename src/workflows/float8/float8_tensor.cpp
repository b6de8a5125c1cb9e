// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_tensor.h"

#include <array>
#include <vector>

#include "core/float8_quant.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Float8Tensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale"};
constexpr std::array<std::string_view, 5> kOptionalAttributeNames{
    "block_size", "mm_config", "act_quant_kwargs", "kernel_preference", "dtype"};
constexpr std::array<std::string_view, 2> kOperations{"float8_weight_only",
                                                      "float8_dynamic_activation_float8_weight"};

}  // namespace

const WeightTensorType kFloat8TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = {},
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = true,
    .safetensors_versions = "0.14 to 0.18",
    .operations = kOperations,
    .from_parts = &Float8Tensor::from_parts,
};

WeightTensorPtr Float8Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  return std::make_shared<Float8Tensor>(
      read_float8_data(PartsReader(kFloat8TensorType, parts, fqn)));
}

WeightTensorPtr Float8Tensor::from_hp(const Tensor& weight, const Float8Options& options) {
  return std::make_shared<Float8Tensor>(quantize_float8_data(
      weight, options.float8_dtype, options.granularity, options.attributes, kClassName));
}

Tensor Float8Tensor::dequantize(std::optional<DType> output_dtype) const {
  return dequantize_float8_weight(data_.qdata, data_.scale, data_.block_size,
                                  output_dtype.value_or(dtype()));
}

TensorParts Float8Tensor::to_parts() const {
  TensorParts out;
  out.class_name = kClassName;
  out.attributes = dump_json_python(float8_attributes(data_));
  out.parts = {{"qdata", data_.qdata}, {"scale", data_.scale}};
  return out;
}

QuantizedWeight Float8Tensor::to_quantized_weight() const {
  return float8_quantized_weight(data_, kClassName);
}

WeightTensorPtr Float8Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  return std::make_shared<Float8Tensor>(slice_float8_data(data_, dim, start, end, kClassName));
}

WeightTensorPtr Float8Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<const Float8Data*> all;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const Float8Tensor*>(part.get());
    if (other == nullptr) return nullptr;
    all.push_back(&other->data_);
  }
  auto joined = concat_float8_rows(all);
  return joined ? std::make_shared<Float8Tensor>(std::move(*joined)) : nullptr;
}

std::string Float8Tensor::describe() const { return describe_float8(data_, false); }

}  // namespace torchao_cpp
