// SPDX-License-Identifier: Apache-2.0
#include "workflows/mx/mx_tensor.h"

#include <fmt/format.h>

#include <array>
#include <numeric>
#include <vector>

#include "base/parallel.h"
#include "core/attribute_values.h"
#include "core/block_slice.h"
#include "core/blocked_scales.h"
#include "core/float_runs.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "MXTensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale"};
constexpr std::array<std::string_view, 6> kAttributeNames{"elem_dtype",       "block_size",
                                                          "orig_dtype",       "kernel_preference",
                                                          "act_quant_kwargs", "is_swizzled_scales"};
constexpr std::array<std::string_view, 2> kOperations{"mx_dynamic_activation_mx_weight",
                                                      "mx_weight_only"};

bool is_fp4(DType dtype) noexcept { return dtype == DType::kFloat4E2M1FNx2; }

// torch has no fp6 dtypes and no casts to fp4, so torchao stores both as bytes.
DType stored_dtype(DType elem_dtype) noexcept {
  return elem_dtype == DType::kFloat8E4M3FN || elem_dtype == DType::kFloat8E5M2 ? elem_dtype
                                                                                : DType::kUInt8;
}

DType read_elem_dtype(const PartsReader& reader, const Json& value, std::string_view what) {
  return dtype_value(reader, value, what,
                     {DType::kFloat8E4M3FN, DType::kFloat8E5M2, DType::kFloat6E2M3,
                      DType::kFloat6E3M2, DType::kFloat4E2M1FNx2});
}

// Positive, even for fp4 and a divisor of K.
std::int64_t read_block_size(const PartsReader& reader, const Json& value, DType elem_dtype,
                             std::int64_t k) {
  const std::int64_t block_size = integer_value(reader, value, "block_size");
  if (block_size <= 0 || k % block_size != 0 || (is_fp4(elem_dtype) && block_size % 2 != 0)) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'block_size' is {}, which does not divide K = {} into blocks of {}",
                            block_size, k, dtype_name(elem_dtype)));
  }
  return block_size;
}

std::optional<QuantizeTensorToMXKwargs> read_act_quant_kwargs(const PartsReader& reader,
                                                              std::int64_t k) {
  const Json* value = reader.attribute("act_quant_kwargs");
  if (value == nullptr) return std::nullopt;
  const Json& data = kwargs_value(
      reader, *value, "QuantizeTensorToMXKwargs", "act_quant_kwargs",
      {"elem_dtype", "block_size", "scaling_mode", "kernel_preference", "is_swizzled_scales"});
  QuantizeTensorToMXKwargs kwargs;
  kwargs.kernel_preference.reset();
  if (const Json* v = find_value(data, "elem_dtype")) {
    kwargs.elem_dtype = read_elem_dtype(reader, *v, "act_quant_kwargs.elem_dtype");
  }
  const Json* block_size = find_value(data, "block_size");
  kwargs.block_size = read_block_size(reader, block_size ? *block_size : Json(kwargs.block_size),
                                      kwargs.elem_dtype, k);
  if (const Json* v = find_value(data, "scaling_mode")) {
    kwargs.scaling_mode = scaling_mode_value(reader, *v, "act_quant_kwargs.scaling_mode");
  }
  if (const Json* v = find_value(data, "kernel_preference")) {
    kwargs.kernel_preference =
        kernel_preference_value(reader, *v, "act_quant_kwargs.kernel_preference");
  }
  if (const Json* v = find_value(data, "is_swizzled_scales")) {
    kwargs.is_swizzled_scales = boolean_value(reader, *v, "act_quant_kwargs.is_swizzled_scales");
  }
  return kwargs;
}

Json act_quant_kwargs_attribute(const std::optional<QuantizeTensorToMXKwargs>& kwargs) {
  if (!kwargs) return nullptr;
  return Json{
      {"_type", "QuantizeTensorToMXKwargs"},
      {"_data", Json{{"elem_dtype", element_dtype_attribute(kwargs->elem_dtype)},
                     {"block_size", kwargs->block_size},
                     {"scaling_mode", scaling_mode_attribute(kwargs->scaling_mode)},
                     {"kernel_preference", kernel_preference_attribute(kwargs->kernel_preference)},
                     {"is_swizzled_scales", kwargs->is_swizzled_scales}}}};
}

void check_from_hp(const Tensor& weight, const MXAttributes& attributes) {
  if (weight.dim() != 2 || weight.numel() == 0) {
    throw ShapeError(fmt::format("{}: weight has shape {}; expected a non-empty 2-D weight [N, K]",
                                 kClassName, shape_to_string(weight.shape())));
  }
  if (weight.dtype() != DType::kFloat32 && weight.dtype() != DType::kBFloat16) {
    throw UnsupportedError(
        fmt::format("{}: torch.{} is not supported yet; expected a float32 or bfloat16 weight",
                    kClassName, dtype_name(weight.dtype())));
  }
  if (!is_mx_element_dtype(attributes.elem_dtype)) {
    throw UnsupportedError(fmt::format("{}: elem_dtype {} is no MX element type", kClassName,
                                       dtype_name(attributes.elem_dtype)));
  }
  const std::int64_t block_size = attributes.block_size;
  if (block_size <= 0 || weight.shape()[1] % block_size != 0) {
    throw ShapeError(
        fmt::format("{}: the last dimension of shape {} must be divisible by block_size {}",
                    kClassName, shape_to_string(weight.shape()), block_size));
  }
  if (is_fp4(attributes.elem_dtype) && block_size % 2 != 0) {
    throw ShapeError(fmt::format("{}: block_size {} is odd; float4 packs two values a byte",
                                 kClassName, block_size));
  }
}

}  // namespace

const WeightTensorType kMXTensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = {},
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = {},
    .safetensors_serializable = true,
    .safetensors_versions = "0.17, 0.18",
    .operations = kOperations,
    .from_parts = &MXTensor::from_parts,
};

WeightTensorPtr MXTensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kMXTensorType, parts, fqn);
  const auto stored = reader.matrix_shape("qdata");
  Data d;
  MXAttributes& a = d.attributes;
  a.elem_dtype = read_elem_dtype(reader, reader.required_attribute("elem_dtype"), "elem_dtype");
  reader.expect_dtype("qdata", {stored_dtype(a.elem_dtype)});
  reader.expect_dtype("scale", {DType::kFloat8E8M0FNU});
  const std::int64_t k = is_fp4(a.elem_dtype) ? stored[1] * 2 : stored[1];
  a.block_size = read_block_size(reader, reader.required_attribute("block_size"), a.elem_dtype, k);
  a.orig_dtype = reader.dtype("orig_dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  a.kernel_preference.reset();
  if (const Json* v = reader.attribute("kernel_preference")) {
    a.kernel_preference = kernel_preference_value(reader, *v, "kernel_preference");
  }
  a.act_quant_kwargs = read_act_quant_kwargs(reader, k);
  a.is_swizzled_scales =
      boolean_value(reader, reader.required_attribute("is_swizzled_scales"), "is_swizzled_scales");
  const std::int64_t columns = k / a.block_size;
  reader.expect_shape("scale", a.is_swizzled_scales ? blocked_scale_shape(stored[0], columns)
                                                    : Shape{stored[0], columns});
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  return std::make_shared<MXTensor>(std::move(d));
}

WeightTensorPtr MXTensor::from_hp(const Tensor& weight, MXAttributes attributes,
                                  ScaleCalculationMode scaling_mode) {
  check_from_hp(weight, attributes);
  attributes.orig_dtype = weight.dtype();
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const MXFormat format{attributes.elem_dtype, scaling_mode, attributes.block_size};
  const std::int64_t row_bytes = code_bytes(attributes.elem_dtype, k);
  const std::int64_t columns = k / attributes.block_size;
  Tensor qdata = Tensor::empty(stored_dtype(attributes.elem_dtype), {n, row_bytes});
  Tensor scale = Tensor::empty(DType::kFloat8E8M0FNU, {n, columns});
  auto* codes = qdata.mutable_data<std::uint8_t>();
  auto* scales = scale.mutable_data<std::uint8_t>();
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    quantize_mx(format, weight.dtype(), weight.bytes(), begin * k, (end - begin) * k,
                codes + begin * row_bytes, scales + begin * columns);
  });
  Data d{std::move(qdata), attributes.is_swizzled_scales ? to_blocked(scale) : scale,
         std::move(attributes)};
  return std::make_shared<MXTensor>(std::move(d));
}

std::int64_t MXTensor::k() const {
  return is_fp4(data_.attributes.elem_dtype) ? data_.qdata.shape()[1] * 2 : data_.qdata.shape()[1];
}

Tensor MXTensor::plain_scale() const {
  if (!data_.attributes.is_swizzled_scales) return data_.scale;
  return from_blocked(data_.scale, n(), k() / data_.attributes.block_size);
}

Tensor MXTensor::dequantize(std::optional<DType> output_dtype) const {
  const MXAttributes& a = data_.attributes;
  const DType dtype = output_dtype.value_or(a.orig_dtype);
  const std::int64_t columns = k();
  const std::int64_t row_bytes = data_.qdata.shape()[1];
  const std::int64_t blocks = columns / a.block_size;
  const MXFormat format{a.elem_dtype, ScaleCalculationMode::kFloor, a.block_size};
  const Tensor scale = plain_scale();
  Tensor weight = Tensor::empty(dtype, {n(), columns});
  std::byte* out = weight.mutable_bytes();
  const auto* codes = data_.qdata.data<std::uint8_t>();
  const auto* scales = scale.data<std::uint8_t>();
  parallel_for(n(), row_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    dequantize_mx(format, codes + begin * row_bytes, scales + begin * blocks,
                  (end - begin) * columns, dtype, out, begin * columns);
  });
  return weight;
}

TensorParts MXTensor::to_parts() const {
  const MXAttributes& a = data_.attributes;
  TensorParts out;
  out.class_name = kClassName;
  out.attributes =
      dump_json_python(Json{{"elem_dtype", element_dtype_attribute(a.elem_dtype)},
                            {"block_size", a.block_size},
                            {"orig_dtype", dtype_attribute(a.orig_dtype)},
                            {"kernel_preference", kernel_preference_attribute(a.kernel_preference)},
                            {"act_quant_kwargs", act_quant_kwargs_attribute(a.act_quant_kwargs)},
                            {"is_swizzled_scales", a.is_swizzled_scales}});
  out.parts = {{"qdata", data_.qdata}, {"scale", data_.scale}};
  return out;
}

// Canonical form: codes as stored (fp4 two a byte), e8m0 scales unswizzled. torchao dequantizes
// both sides and multiplies in float, bias included before the one rounding.
QuantizedWeight MXTensor::to_quantized_weight() const {
  const MXAttributes& a = data_.attributes;
  QuantizedWeight out;
  out.output_size = n();
  out.input_size = k();
  out.weight_dtype = a.elem_dtype;
  out.codes_per_byte = is_fp4(a.elem_dtype) ? 2 : 1;
  out.qdata = data_.qdata;
  out.scale = plain_scale();
  out.block_size = {1, a.block_size};
  out.dtype = a.orig_dtype;
  out.bias_rounding = BiasRounding::kFused;
  if (a.act_quant_kwargs) {
    out.activation.kind = ActivationQuant::Kind::kMXDynamic;
    out.activation.dtype = a.act_quant_kwargs->elem_dtype;
    out.activation.scaling_mode = a.act_quant_kwargs->scaling_mode;
    out.activation.block_size = a.act_quant_kwargs->block_size;
  }
  return out;
}

WeightTensorPtr MXTensor::with(Tensor qdata, const Tensor& plain_scale) const {
  Data d{std::move(qdata),
         data_.attributes.is_swizzled_scales ? to_blocked(plain_scale) : plain_scale,
         data_.attributes};
  return std::make_shared<MXTensor>(std::move(d));
}

WeightTensorPtr MXTensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  check_slice(kClassName, dim, start, end, dim == 0 ? n() : k());
  if (dim == 0)
    return with(data_.qdata.narrow(0, start, end - start),
                plain_scale().narrow(0, start, end - start));
  const MXAttributes& a = data_.attributes;
  const std::int64_t step =
      a.act_quant_kwargs ? std::lcm(a.block_size, a.act_quant_kwargs->block_size) : a.block_size;
  if (start % step != 0 || end % step != 0) {
    throw ShapeError(fmt::format(
        "{}: slice {}:{} of dimension 1 cuts through scale blocks of {}; start and end must be "
        "multiples of {}",
        kClassName, start, end, step, step));
  }
  const std::int64_t first = code_bytes(a.elem_dtype, start);
  return with(data_.qdata.narrow(1, first, code_bytes(a.elem_dtype, end) - first),
              plain_scale().narrow(1, start / a.block_size, (end - start) / a.block_size));
}

WeightTensorPtr MXTensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const MXTensor*>(part.get());
    if (other == nullptr || other->data_.attributes != data_.attributes || other->k() != k())
      return nullptr;
    qdata.push_back(other->data_.qdata);
    scale.push_back(other->plain_scale());
  }
  return with(torchao_cpp::concat_rows(qdata), torchao_cpp::concat_rows(scale));
}

std::string MXTensor::describe() const {
  const MXAttributes& a = data_.attributes;
  std::string text = fmt::format("mx {}, block [1, {}]", dtype_name(a.elem_dtype), a.block_size);
  if (a.is_swizzled_scales) text += ", swizzled scales";
  if (a.act_quant_kwargs)
    text += fmt::format(", mx {} activation", dtype_name(a.act_quant_kwargs->elem_dtype));
  return text;
}

}  // namespace torchao_cpp
