// SPDX-License-Identifier: Apache-2.0
#include "workflows/nvfp4/nvfp4_tensor.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "base/parallel.h"
#include "core/attribute_values.h"
#include "core/block_slice.h"
#include "core/blocked_scales.h"
#include "core/float_runs.h"
#include "core/nvfp4_quant.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kClassName = "NVFP4Tensor";
constexpr std::array<std::string_view, 2> kDataNames{"qdata", "scale"};
constexpr std::array<std::string_view, 2> kOptionalDataNames{"per_tensor_scale",
                                                             "act_per_tensor_scale"};
constexpr std::array<std::string_view, 2> kAttributeNames{"block_size", "orig_dtype"};
constexpr std::array<std::string_view, 3> kOptionalAttributeNames{
    "is_swizzled_scales", "use_triton_kernel", "act_quant_kwargs"};
constexpr std::array<std::string_view, 2> kOperations{"nvfp4_weight_only",
                                                      "nvfp4_dynamic_activation_nvfp4_weight"};

void expect_block_size(const PartsReader& reader, const Json& value, std::string_view what) {
  const std::int64_t block_size = integer_value(reader, value, what);
  if (block_size != kNVFP4BlockSize) {
    reader.fail("ao.metadata_invalid", fmt::format("'{}' is {}; NVFP4 has blocks of {}", what,
                                                   block_size, kNVFP4BlockSize));
  }
}

std::optional<QuantizeTensorToNVFP4Kwargs> read_act_quant_kwargs(const PartsReader& reader) {
  const Json* value = reader.attribute("act_quant_kwargs");
  if (value == nullptr) return std::nullopt;
  const Json& data = kwargs_value(
      reader, *value, "QuantizeTensorToNVFP4Kwargs", "act_quant_kwargs",
      {"block_size", "is_swizzled_scales", "use_triton_kernel", "use_dynamic_per_tensor_scale"});
  QuantizeTensorToNVFP4Kwargs kwargs;
  if (const Json* v = find_value(data, "block_size"))
    expect_block_size(reader, *v, "act_quant_kwargs.block_size");
  if (const Json* v = find_value(data, "is_swizzled_scales")) {
    kwargs.is_swizzled_scales = boolean_value(reader, *v, "act_quant_kwargs.is_swizzled_scales");
  }
  if (const Json* v = find_value(data, "use_triton_kernel")) {
    kwargs.use_triton_kernel = boolean_value(reader, *v, "act_quant_kwargs.use_triton_kernel");
  }
  if (const Json* v = find_value(data, "use_dynamic_per_tensor_scale")) {
    kwargs.use_dynamic_per_tensor_scale =
        boolean_value(reader, *v, "act_quant_kwargs.use_dynamic_per_tensor_scale");
  }
  return kwargs;
}

Json act_quant_kwargs_attribute(const std::optional<QuantizeTensorToNVFP4Kwargs>& kwargs) {
  if (!kwargs) return nullptr;
  return Json{
      {"_type", "QuantizeTensorToNVFP4Kwargs"},
      {"_data", Json{{"block_size", kwargs->block_size},
                     {"is_swizzled_scales", kwargs->is_swizzled_scales},
                     {"use_triton_kernel", kwargs->use_triton_kernel},
                     {"use_dynamic_per_tensor_scale", kwargs->use_dynamic_per_tensor_scale}}}};
}

// One float32 for the tensor. torchao's per-expert form [E, 1, 1] belongs to 3-D weights.
Tensor read_tensor_scale(const PartsReader& reader, std::string_view name) {
  const Tensor scale = reader.tensor(name);
  if (!scale.defined()) return {};
  reader.expect_dtype(name, {DType::kFloat32});
  if (scale.shape() != Shape{} && scale.shape() != Shape{1}) {
    reader.fail("ao.shape_mismatch", fmt::format("'{}' has shape {}; expected []", name,
                                                 shape_to_string(scale.shape())));
  }
  return scale;
}

std::optional<float> scale_value(const Tensor& scale) {
  return scale.defined() ? std::optional<float>(*scale.data<float>()) : std::nullopt;
}

void check_from_hp(const Tensor& weight) {
  if (weight.dim() != 2 || weight.numel() == 0) {
    throw ShapeError(fmt::format("{}: weight has shape {}; expected a non-empty 2-D weight [N, K]",
                                 kClassName, shape_to_string(weight.shape())));
  }
  if (weight.dtype() != DType::kFloat32 && weight.dtype() != DType::kBFloat16) {
    throw UnsupportedError(
        fmt::format("{}: torch.{} not supported; expected a float32 or bfloat16 weight", kClassName,
                    dtype_name(weight.dtype())));
  }
  if (weight.shape()[1] % kNVFP4BlockSize != 0) {
    throw ShapeError(
        fmt::format("{}: weight has shape {}; K dim must be divisible by block_size {}", kClassName,
                    shape_to_string(weight.shape()), kNVFP4BlockSize));
  }
}

}  // namespace

const WeightTensorType kNVFP4TensorType{
    .class_name = kClassName,
    .tensor_data_names = kDataNames,
    .optional_tensor_data_names = kOptionalDataNames,
    .tensor_attribute_names = kAttributeNames,
    .optional_tensor_attribute_names = kOptionalAttributeNames,
    .safetensors_serializable = true,
    .safetensors_versions = "0.17, 0.18",
    .operations = kOperations,
    .from_parts = &NVFP4Tensor::from_parts,
};

WeightTensorPtr NVFP4Tensor::from_parts(const TensorParts& parts, std::string_view fqn) {
  const PartsReader reader(kNVFP4TensorType, parts, fqn);
  const auto stored = reader.matrix_shape("qdata");
  reader.expect_dtype("qdata", {DType::kUInt8});
  reader.expect_dtype("scale", {DType::kFloat8E4M3FN});
  Data d;
  NVFP4Attributes& a = d.attributes;
  expect_block_size(reader, reader.required_attribute("block_size"), "block_size");
  a.orig_dtype = reader.dtype("orig_dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  a.is_swizzled_scales = reader.boolean("is_swizzled_scales", false);
  a.use_triton_kernel = reader.boolean("use_triton_kernel", false);
  a.act_quant_kwargs = read_act_quant_kwargs(reader);
  const std::int64_t k = stored[1] * 2;
  if (k % kNVFP4BlockSize != 0) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'qdata' has {} bytes a row, which is no whole number of blocks of {}",
                            stored[1], kNVFP4BlockSize / 2));
  }
  const std::int64_t columns = k / kNVFP4BlockSize;
  reader.expect_shape("scale", a.is_swizzled_scales ? blocked_scale_shape(stored[0], columns)
                                                    : Shape{stored[0], columns});
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  d.per_tensor_scale = read_tensor_scale(reader, "per_tensor_scale");
  d.act_per_tensor_scale = read_tensor_scale(reader, "act_per_tensor_scale");
  return std::make_shared<NVFP4Tensor>(std::move(d));
}

WeightTensorPtr NVFP4Tensor::from_hp(const Tensor& weight, bool use_per_tensor_scale,
                                     NVFP4Attributes attributes,
                                     const Tensor& act_per_tensor_scale) {
  check_from_hp(weight);
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const DType dtype = weight.dtype();
  attributes.orig_dtype = dtype;
  Data d;
  if (use_per_tensor_scale) {
    const std::array<float, 1> value{
        nvfp4_per_tensor_scale(abs_max_rows(dtype, weight.bytes(), n, k, k))};
    d.per_tensor_scale = Tensor::from_values<float>(DType::kFloat32, {}, value);
  }
  const std::optional<float> per_tensor_scale = scale_value(d.per_tensor_scale);
  d.qdata = Tensor::empty(DType::kUInt8, {n, k / 2});
  Tensor scale = Tensor::empty(DType::kFloat8E4M3FN, {n, k / kNVFP4BlockSize});
  auto* codes = d.qdata.mutable_data<std::uint8_t>();
  auto* scales = scale.mutable_data<std::uint8_t>();
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    quantize_nvfp4(dtype, weight.bytes(), begin * k, (end - begin) * k, per_tensor_scale,
                   codes + begin * k / 2, scales + begin * (k / kNVFP4BlockSize));
  });
  d.scale = attributes.is_swizzled_scales ? to_blocked(scale) : scale;
  d.act_per_tensor_scale = act_per_tensor_scale;
  d.attributes = std::move(attributes);
  return std::make_shared<NVFP4Tensor>(std::move(d));
}

Tensor NVFP4Tensor::plain_scale() const {
  if (!data_.attributes.is_swizzled_scales) return data_.scale;
  return from_blocked(data_.scale, n(), k() / kNVFP4BlockSize);
}

Tensor NVFP4Tensor::dequantize(std::optional<DType> output_dtype) const {
  const DType dtype = output_dtype.value_or(data_.attributes.orig_dtype);
  const std::int64_t columns = k();
  const std::int64_t blocks = columns / kNVFP4BlockSize;
  const float per_tensor_scale = scale_value(data_.per_tensor_scale).value_or(1.0f);
  const Tensor scale = plain_scale();
  Tensor weight = Tensor::empty(dtype, {n(), columns});
  std::byte* out = weight.mutable_bytes();
  const auto* codes = data_.qdata.data<std::uint8_t>();
  const auto* scales = scale.data<std::uint8_t>();
  parallel_for(n(), row_grain(columns), [&](std::int64_t begin, std::int64_t end) {
    dequantize_nvfp4(codes + begin * columns / 2, scales + begin * blocks, (end - begin) * columns,
                     per_tensor_scale, dtype, out, begin * columns);
  });
  return weight;
}

TensorParts NVFP4Tensor::to_parts() const {
  const NVFP4Attributes& a = data_.attributes;
  TensorParts out;
  out.class_name = kClassName;
  out.attributes =
      dump_json_python(Json{{"is_swizzled_scales", a.is_swizzled_scales},
                            {"use_triton_kernel", a.use_triton_kernel},
                            {"act_quant_kwargs", act_quant_kwargs_attribute(a.act_quant_kwargs)},
                            {"block_size", kNVFP4BlockSize},
                            {"orig_dtype", dtype_attribute(a.orig_dtype)}});
  if (data_.per_tensor_scale.defined())
    out.parts.emplace_back("per_tensor_scale", data_.per_tensor_scale);
  if (data_.act_per_tensor_scale.defined())
    out.parts.emplace_back("act_per_tensor_scale", data_.act_per_tensor_scale);
  out.parts.emplace_back("qdata", data_.qdata);
  out.parts.emplace_back("scale", data_.scale);
  return out;
}

// Canonical form: codes two a byte, e4m3 scales unswizzled. Weight-only: dequantized weight, bias
// included before the one rounding. Dynamic: where a per-tensor scale multiplies the product,
// torchao adds the bias after that.
QuantizedWeight NVFP4Tensor::to_quantized_weight() const {
  QuantizedWeight out;
  out.output_size = n();
  out.input_size = k();
  out.weight_dtype = DType::kFloat4E2M1FNx2;
  out.codes_per_byte = 2;
  out.qdata = data_.qdata;
  out.scale = plain_scale();
  out.block_size = {1, kNVFP4BlockSize};
  if (data_.per_tensor_scale.defined()) out.per_tensor_scale = data_.per_tensor_scale.reshape({1});
  out.dtype = data_.attributes.orig_dtype;
  out.bias_rounding = BiasRounding::kFused;
  if (const auto& kwargs = data_.attributes.act_quant_kwargs) {
    out.activation.kind = ActivationQuant::Kind::kNVFP4Dynamic;
    out.activation.dtype = DType::kFloat4E2M1FNx2;
    out.activation.block_size = kNVFP4BlockSize;
    out.activation.use_dynamic_per_tensor_scale = kwargs->use_dynamic_per_tensor_scale;
    if (data_.act_per_tensor_scale.defined())
      out.activation.scale = data_.act_per_tensor_scale.reshape({1});
    const bool has_tensor_scale = out.per_tensor_scale.defined() ||
                                  out.activation.scale.defined() ||
                                  kwargs->use_dynamic_per_tensor_scale;
    if (has_tensor_scale) out.bias_rounding = BiasRounding::kSeparate;
  }
  return out;
}

WeightTensorPtr NVFP4Tensor::with(Tensor qdata, const Tensor& plain_scale) const {
  Data d = data_;
  d.qdata = std::move(qdata);
  d.scale = data_.attributes.is_swizzled_scales ? to_blocked(plain_scale) : plain_scale;
  return std::make_shared<NVFP4Tensor>(std::move(d));
}

WeightTensorPtr NVFP4Tensor::slice(int dim, std::int64_t start, std::int64_t end) const {
  check_slice(kClassName, dim, start, end, dim == 0 ? n() : k());
  if (dim == 0)
    return with(data_.qdata.narrow(0, start, end - start),
                plain_scale().narrow(0, start, end - start));
  if (start % kNVFP4BlockSize != 0 || end % kNVFP4BlockSize != 0) {
    throw ShapeError(fmt::format(
        "{}: slice {}:{} of dimension 1 cuts through scale blocks; start and end must be "
        "multiples of {}",
        kClassName, start, end, kNVFP4BlockSize));
  }
  return with(data_.qdata.narrow(1, start / 2, (end - start) / 2),
              plain_scale().narrow(1, start / kNVFP4BlockSize, (end - start) / kNVFP4BlockSize));
}

WeightTensorPtr NVFP4Tensor::concat_rows(std::span<const WeightTensorPtr> parts) const {
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  for (const WeightTensorPtr& part : parts) {
    const auto* other = dynamic_cast<const NVFP4Tensor*>(part.get());
    if (other == nullptr || other->data_.attributes != data_.attributes || other->k() != k() ||
        !same_or_absent(other->data_.per_tensor_scale, data_.per_tensor_scale) ||
        !same_or_absent(other->data_.act_per_tensor_scale, data_.act_per_tensor_scale)) {
      return nullptr;
    }
    qdata.push_back(other->data_.qdata);
    scale.push_back(other->plain_scale());
  }
  return with(torchao_cpp::concat_rows(qdata), torchao_cpp::concat_rows(scale));
}

std::string NVFP4Tensor::describe() const {
  std::string text = fmt::format("nvfp4, block [1, {}]", kNVFP4BlockSize);
  if (data_.per_tensor_scale.defined()) text += ", per-tensor scale";
  if (data_.attributes.is_swizzled_scales) text += ", swizzled scales";
  if (data_.attributes.act_quant_kwargs) {
    text += data_.act_per_tensor_scale.defined()
                ? ", nvfp4 activation with a fixed per-tensor scale"
                : ", nvfp4 activation";
  }
  return text;
}

}  // namespace torchao_cpp
