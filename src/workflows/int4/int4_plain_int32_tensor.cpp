// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_plain_int32_tensor.h"

#include <fmt/format.h>

#include <array>

#include "core/block_slice.h"
#include "torchao_cpp/error.h"
#include "workflows/int4/int4_parts.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "Int4PlainInt32Tensor";
constexpr std::array<std::string_view, 3> kDataNames{"qdata", "scale", "zero_point"};
constexpr std::array<std::string_view, 1> kOptionalDataNames{"act_pre_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "shape"};
constexpr std::int64_t kCodesPerWord = 8;

constexpr std::string_view kDevicePacking =
    "the order of its nibbles belongs to the XPU or NPU that packed it";

[[noreturn]] void refuse(std::string_view what) {
  throw UnsupportedError(
      fmt::format("Int4PlainInt32Tensor: cannot {}: {}; quantize with packing format PLAIN instead",
                  what, kDevicePacking));
}

}  // namespace

const WeightTensorType kInt4PlainInt32TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = true,
    .safetensors_versions = "0.16 to 0.18",
    .not_run = kDevicePacking,
    .from_parts = &Int4PlainInt32Tensor::from_parts,
};

WeightTensorPtr Int4PlainInt32Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kInt4PlainInt32TensorType, parts, fqn);
  const auto [n, k, group_size] = read_int4_layout(reader, DType::kInt32, kCodesPerWord);
  Data d;
  d.group_size = group_size;
  const Shape scale_shape{k / d.group_size, n};
  reader.expect_dtype("scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  reader.expect_shape("scale", scale_shape);
  reader.expect_dtype("zero_point", {DType::kInt8, reader.tensor("scale").dtype()});
  reader.expect_shape("zero_point", scale_shape);
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.zero_point = reader.tensor("zero_point");
  if (reader.act_pre_scale(k).defined()) d.act_pre_scale = reader.tensor("act_pre_scale");
  return std::make_shared<Int4PlainInt32Tensor>(std::move(d));
}

Tensor Int4PlainInt32Tensor::dequantize(std::optional<DType> /*output_dtype*/) const {
  refuse("dequantize");
}

QuantizedWeight Int4PlainInt32Tensor::to_quantized_weight() const { refuse("run"); }

TensorParts Int4PlainInt32Tensor::to_parts() const {
  const Shape s = shape();
  TensorParts out;
  out.class_name = kClassName;
  const Json attributes{{"block_size", block_size_attribute({1, data_.group_size})},
                        {"shape", Json::array({s[0], s[1]})}};
  out.attributes = dump_json_python(attributes);
  if (data_.act_pre_scale.defined()) out.parts.emplace_back("act_pre_scale", data_.act_pre_scale);
  out.parts.emplace_back("qdata", data_.qdata);
  out.parts.emplace_back("scale", data_.scale);
  out.parts.emplace_back("zero_point", data_.zero_point);
  return out;
}

WeightTensorPtr Int4PlainInt32Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  const Shape s = shape();
  const std::int64_t size = dim == 0 ? s[0] : s[1];
  check_slice(kClassName, dim, start, end, size);
  if (start != 0 || end != size) {
    throw ShapeError(fmt::format(
        "Int4PlainInt32Tensor: slice {}:{} of dimension {} with {} elements: its packing is the "
        "device's own, only the whole weight can be used",
        start, end, dim, size));
  }
  return std::make_shared<Int4PlainInt32Tensor>(data_);
}

WeightTensorPtr Int4PlainInt32Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  return parts.size() == 1 ? parts.front() : nullptr;
}

std::string Int4PlainInt32Tensor::describe() const {
  return fmt::format("int4 in device order, block [1, {}]{}", data_.group_size,
                     data_.act_pre_scale.defined() ? ", act_pre_scale" : "");
}

}  // namespace torchao_cpp
