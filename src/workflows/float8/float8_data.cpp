// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_data.h"

#include <fmt/format.h>

#include <vector>

#include "core/attribute_values.h"
#include "core/block_slice.h"
#include "core/float8_quant.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kActivationBlock = 128;

Float8MMConfig mm_config_value(const PartsReader& reader, const Json& value,
                               std::string_view what) {
  const Json& data = kwargs_value(reader, value, "Float8MMConfig", what,
                                  {"emulate", "use_fast_accum", "pad_inner_dim"});
  Float8MMConfig config;
  if (const Json* v = find_value(data, "emulate"))
    config.emulate = boolean_value(reader, *v, "emulate");
  if (const Json* v = find_value(data, "use_fast_accum")) {
    config.use_fast_accum = boolean_value(reader, *v, "use_fast_accum");
  }
  if (const Json* v = find_value(data, "pad_inner_dim"))
    config.pad_inner_dim = boolean_value(reader, *v, "pad_inner_dim");
  return config;
}

Json mm_config_attribute(const std::optional<Float8MMConfig>& config) {
  if (!config) return nullptr;
  return Json{{"_type", "Float8MMConfig"},
              {"_data", Json{{"emulate", config->emulate},
                             {"use_fast_accum", config->use_fast_accum},
                             {"pad_inner_dim", config->pad_inner_dim}}}};
}

// PerRow and PerTensor as everywhere; PerBlock only in weights made in memory, because no torchao
// reads it from a file.
Granularity activation_granularity(const PartsReader& reader, const Json& value,
                                   std::string_view what) {
  if (value.is_object() && value.contains("_type") && value["_type"] == "PerBlock") {
    const Json& data = kwargs_value(reader, value, "PerBlock", what, {"block_size"});
    if (data.value("block_size", Json()) != Json::array({1, kActivationBlock})) {
      reader.fail("ao.metadata_invalid",
                  fmt::format("'{}' is {}; expected PerBlock([1, 128])", what, data.dump()));
    }
    return PerBlock{{1, kActivationBlock}};
  }
  Granularity granularity = reader.granularity(value, what);
  if (const auto* row = std::get_if<PerRow>(&granularity); row != nullptr && row->dim != -1) {
    reader.fail(
        "ao.metadata_invalid",
        fmt::format("'{}' is PerRow(dim={}); activations take PerRow(dim=-1)", what, row->dim));
  }
  return granularity;
}

Json activation_granularity_attribute(const Granularity& granularity) {
  if (const auto* block = std::get_if<PerBlock>(&granularity)) {
    return Json{{"_type", "PerBlock"}, {"_data", Json{{"block_size", block->block_size}}}};
  }
  return granularity_attribute(granularity);
}

Json optional_number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// Old files leave the block size to the shapes; a tensor-wise scale may have lost its dimensions
// there.
BlockSize block_size_from_scale(const PartsReader& reader, const Tensor& scale, std::int64_t n,
                                std::int64_t k) {
  if (scale.numel() == 1) return {n, k};
  const Shape& s = scale.shape();
  if (s.size() != 2 || scale.numel() == 0 || n % s[0] != 0 || k % s[1] != 0) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'scale' has shape {}, which does not divide the weight [{}, {}]",
                            shape_to_string(s), n, k));
  }
  return {n / s[0], k / s[1]};
}

bool has_block_activation(const Float8Attributes& attributes) {
  return attributes.act_quant_kwargs &&
         std::holds_alternative<PerBlock>(attributes.act_quant_kwargs->granularity);
}

}  // namespace

std::optional<QuantizeTensorToFloat8Kwargs> read_float8_kwargs(const PartsReader& reader,
                                                               std::string_view name) {
  const Json* value = reader.attribute(name);
  if (value == nullptr) return std::nullopt;
  const Json& data = kwargs_value(reader, *value, "QuantizeTensorToFloat8Kwargs", name,
                                  {"float8_dtype", "granularity", "mm_config", "hp_value_lb",
                                   "hp_value_ub", "kernel_preference"});
  QuantizeTensorToFloat8Kwargs kwargs;
  kwargs.kernel_preference.reset();
  if (const Json* v = find_value(data, "float8_dtype")) {
    kwargs.float8_dtype =
        dtype_value(reader, *v, "float8_dtype", {DType::kFloat8E4M3FN, DType::kFloat8E5M2});
  }
  if (const Json* v = find_value(data, "granularity")) {
    kwargs.granularity = activation_granularity(reader, *v, fmt::format("{}.granularity", name));
  }
  if (const Json* v = find_value(data, "mm_config"))
    kwargs.mm_config = mm_config_value(reader, *v, "mm_config");
  if (const Json* v = find_value(data, "hp_value_lb"))
    kwargs.hp_value_lb = number_value(reader, *v, "hp_value_lb");
  if (const Json* v = find_value(data, "hp_value_ub"))
    kwargs.hp_value_ub = number_value(reader, *v, "hp_value_ub");
  if (const Json* v = find_value(data, "kernel_preference")) {
    kwargs.kernel_preference = kernel_preference_value(reader, *v, "kernel_preference");
  }
  return kwargs;
}

Float8Data read_float8_data(const PartsReader& reader) {
  const auto shape = reader.matrix_shape("qdata");
  const std::int64_t n = shape[0];
  const std::int64_t k = shape[1];
  reader.expect_dtype("qdata", {DType::kFloat8E4M3FN, DType::kFloat8E5M2});
  reader.expect_dtype("scale", {DType::kFloat32});
  Float8Data d;
  d.qdata = reader.tensor("qdata");
  d.scale = reader.tensor("scale");
  if (reader.attribute("block_size") == nullptr) {
    d.block_size = block_size_from_scale(reader, d.scale, n, k);
    d.scale = d.scale.reshape({n / d.block_size[0], k / d.block_size[1]});
  } else {
    d.block_size = reader.block_size("block_size", n, k);
    reader.expect_shape("scale", {n / d.block_size[0], k / d.block_size[1]});
  }
  d.attributes.kernel_preference.reset();
  if (const Json* v = reader.attribute("mm_config"))
    d.attributes.mm_config = mm_config_value(reader, *v, "mm_config");
  if (const Json* v = reader.attribute("kernel_preference")) {
    d.attributes.kernel_preference = kernel_preference_value(reader, *v, "kernel_preference");
  }
  d.attributes.act_quant_kwargs = read_float8_kwargs(reader, "act_quant_kwargs");
  d.attributes.dtype = reader.dtype("dtype", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  return d;
}

Json float8_kwargs_attribute(const std::optional<QuantizeTensorToFloat8Kwargs>& kwargs) {
  if (!kwargs) return nullptr;
  return Json{{"_type", "QuantizeTensorToFloat8Kwargs"},
              {"_data", Json{{"float8_dtype", dtype_attribute(kwargs->float8_dtype)},
                             {"granularity", activation_granularity_attribute(kwargs->granularity)},
                             {"mm_config", mm_config_attribute(kwargs->mm_config)},
                             {"hp_value_lb", optional_number(kwargs->hp_value_lb)},
                             {"hp_value_ub", optional_number(kwargs->hp_value_ub)},
                             {"kernel_preference",
                              kernel_preference_attribute(kwargs->kernel_preference)}}}};
}

Json float8_attributes(const Float8Data& data) {
  const Float8Attributes& a = data.attributes;
  return Json{{"block_size", block_size_attribute(data.block_size)},
              {"mm_config", mm_config_attribute(a.mm_config)},
              {"act_quant_kwargs", float8_kwargs_attribute(a.act_quant_kwargs)},
              {"kernel_preference", kernel_preference_attribute(a.kernel_preference)},
              {"dtype", dtype_attribute(a.dtype)}};
}

Float8Data quantize_float8_data(const Tensor& weight, DType float8_dtype,
                                const Granularity& granularity, Float8Attributes attributes,
                                std::string_view class_name) {
  check_weight_matrix(weight, class_name);
  if (float8_dtype != DType::kFloat8E4M3FN && float8_dtype != DType::kFloat8E5M2) {
    throw UnsupportedError(
        fmt::format("{}: weight_dtype is {}; expected float8_e4m3fn or float8_e5m2", class_name,
                    dtype_name(float8_dtype)));
  }
  Float8Data d;
  d.block_size = block_size_from_granularity(granularity, weight.shape()[0], weight.shape()[1]);
  d.attributes = std::move(attributes);
  d.attributes.dtype = weight.dtype();
  Float8Quantized q = quantize_float8_weight(
      weight, d.block_size, {weight.dtype(), float8_dtype, std::nullopt, std::nullopt});
  d.qdata = std::move(q.qdata);
  d.scale = std::move(q.scale);
  return d;
}

QuantizedWeight float8_quantized_weight(const Float8Data& data, std::string_view class_name) {
  QuantizedWeight out;
  out.output_size = data.n();
  out.input_size = data.k();
  out.weight_dtype = data.qdata.dtype();
  out.qdata = data.qdata;
  out.scale = data.scale;
  out.block_size = data.block_size;
  out.dtype = data.attributes.dtype;
  out.bias_rounding = BiasRounding::kSeparate;
  if (!data.attributes.act_quant_kwargs) return out;
  const QuantizeTensorToFloat8Kwargs& kwargs = *data.attributes.act_quant_kwargs;
  const bool is_block = has_block_activation(data.attributes);
  const std::int64_t columns = is_block ? kActivationBlock : data.k();
  if (data.block_size[1] != columns || data.k() % columns != 0) {
    throw UnsupportedError(
        fmt::format("{} [{}, {}] with block_size [{}, {}] and {} activations: the float8 product "
                    "takes weight blocks of {} columns",
                    class_name, data.n(), data.k(), data.block_size[0], data.block_size[1],
                    to_string(kwargs.granularity), columns));
  }
  if (!is_block) out.bias_rounding = BiasRounding::kFused;
  out.activation.kind = ActivationQuant::Kind::kFloat8Dynamic;
  out.activation.dtype = kwargs.float8_dtype;
  out.activation.granularity = kwargs.granularity;
  out.activation.value_lb = kwargs.hp_value_lb;
  out.activation.value_ub = kwargs.hp_value_ub;
  if (const auto& mm_config = data.attributes.mm_config)
    out.activation.use_fast_accum = mm_config->use_fast_accum;
  return out;
}

Float8Data slice_float8_data(const Float8Data& data, int dim, std::int64_t start, std::int64_t end,
                             std::string_view class_name) {
  check_slice(class_name, dim, start, end, dim == 0 ? data.n() : data.k());
  const auto d = static_cast<std::size_t>(dim);
  const BlockSlice blocks =
      slice_blocks(class_name, dim, start, end, data.qdata.shape()[d], data.block_size[d]);
  if (dim == 1 && has_block_activation(data.attributes) && blocks.block != kActivationBlock) {
    throw ShapeError(fmt::format(
        "{}: slice {}:{} of dimension 1 cuts through the activation's blocks of {} columns",
        class_name, start, end, kActivationBlock));
  }
  Float8Data out = data;
  out.qdata = data.qdata.narrow(dim, start, end - start);
  out.scale = data.scale.narrow(dim, blocks.scale_start, blocks.scale_length);
  out.block_size[d] = blocks.block;
  return out;
}

std::optional<Float8Data> concat_float8_rows(std::span<const Float8Data* const> parts) {
  const Float8Data& first = *parts.front();
  const bool is_per_tensor = first.is_per_tensor();
  std::vector<Tensor> qdata;
  std::vector<Tensor> scale;
  for (const Float8Data* part : parts) {
    if (part->attributes != first.attributes || part->k() != first.k() ||
        part->qdata.dtype() != first.qdata.dtype() || part->is_per_tensor() != is_per_tensor) {
      return std::nullopt;
    }
    // One scale for all rows stays one only when every part has the same.
    if (is_per_tensor ? !equal_bytes(part->scale, first.scale)
                      : part->block_size != first.block_size) {
      return std::nullopt;
    }
    qdata.push_back(part->qdata);
    scale.push_back(part->scale);
  }
  Float8Data out = first;
  out.qdata = concat_rows(qdata);
  if (is_per_tensor) {
    out.block_size[0] = out.n();
  } else {
    out.scale = concat_rows(scale);
  }
  return out;
}

std::string describe_float8(const Float8Data& data, bool is_static) {
  std::string text = fmt::format("{}, block [{}, {}]", dtype_name(data.qdata.dtype()),
                                 data.block_size[0], data.block_size[1]);
  if (const auto& kwargs = data.attributes.act_quant_kwargs) {
    text += fmt::format(", {} {} activation {}", dtype_name(kwargs->float8_dtype),
                        is_static ? "static" : "dynamic", to_string(kwargs->granularity));
  }
  return text;
}

}  // namespace torchao_cpp
