// SPDX-License-Identifier: Apache-2.0
#include "io/legacy_weight.h"

#include <fmt/format.h>

#include <cmath>

#include "core/float_formats.h"
#include "core/parts_reader.h"
#include "io/legacy_classes.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kUnsupported = "bin.unsupported_legacy_layout";

std::string function_name(const TorchObject& object, std::string_view attribute) {
  const PickleValue* value = object.find(attribute);
  if (value == nullptr || !value->is_global(PickleRole::kFunction))
    object.fail("pickle.type_error", fmt::format("'{}' is no function", attribute));
  return std::string(value->global->name);
}

// activation_granularity and activation_dtype; neither means what torchao took by default.
void read_float8_kwargs(const TorchObject& object, LegacyActivation& activation) {
  activation.kind = LegacyActivation::Kind::kFloat8;
  activation.granularity = Json{{"_type", "PerTensor"}, {"_data", Json::object()}};
  activation.float8_dtype = dtype_attribute(DType::kFloat8E4M3FN);
  const Json kwargs = object.attribute("quant_kwargs");
  if (!kwargs.is_object()) return;
  for (const auto& [name, value] : kwargs.items()) {
    if (name == "activation_granularity") {
      activation.granularity = value;
    } else if (name == "activation_dtype") {
      activation.float8_dtype = value;
    } else if (!value.is_null()) {
      object.fail("ao.metadata_invalid",
                  fmt::format("'quant_kwargs' has an unexpected field {}", quoted_name(name)));
    }
  }
}

LegacyActivation read_dynamic_activation(const TorchObject& object, LegacyContext& context) {
  LegacyActivation out;
  const std::string function = function_name(object, "input_quant_func");
  if (function == "_input_activation_quant_func_fp8") {
    read_float8_kwargs(object, out);
    return out;
  }
  const Json kwargs = object.attribute("quant_kwargs");
  if (kwargs.is_object() && !kwargs.empty()) {
    object.fail("ao.metadata_invalid",
                fmt::format("'quant_kwargs' is not empty, but {} takes none", function));
  }
  if (function == "_int8_asymm_per_token_quant") {
    out.kind = LegacyActivation::Kind::kInt8Asymmetric;
    return out;
  }
  if (!function.starts_with("_int8_symm"))
    object.fail(
        kUnsupported,
        fmt::format("quantizes activations with {}, which only runs on one device", function));
  out.kind = LegacyActivation::Kind::kInt8Symmetric;
  context.notes.add(
      object.fqn(),
      fmt::format("{} quantized activations to -127..127, symmetrically{}; here they are quantized "
                  "to -128..127, and "
                  "asymmetrically where the weight has groups or zero points, so that outputs "
                  "differ slightly",
                  function,
                  function.ends_with("noop_decode") ? " and not at all for one token" : ""));
  return out;
}

LegacyActivation read_static_activation(const TorchObject& object) {
  LegacyActivation out;
  const std::string function = function_name(object, "input_quant_func_static");
  if (function != "_input_activation_quant_func_fp8") {
    object.fail(
        kUnsupported,
        fmt::format(
            "quantizes activations with {} and stored scales, for which there is no class today",
            function));
  }
  if (object.find("zero_point") != nullptr)
    object.fail(kUnsupported, "has a zero point of the activation, which float8 has not");
  read_float8_kwargs(object, out);
  out.scale = object.required_tensor("scale");
  if (out.scale->numel() != 1) {
    object.fail("ao.shape_mismatch", fmt::format("'scale' has shape {}; expected one element",
                                                 shape_to_string(out.scale->shape())));
  }
  if (!is_high_precision(out.scale->dtype()))
    object.fail("ao.dtype_mismatch", fmt::format("'scale' is {}", dtype_name(out.scale->dtype())));
  return out;
}

// An integer, at times spelt as a float; nullopt for None.
std::optional<std::int64_t> quant_bound(const TorchObject& object, std::string_view name) {
  const PickleValue* value = object.find(name);
  if (value == nullptr || !value->is(PickleKind::kFloat)) return object.integer(name);
  const double number = value->number();
  if (!(std::fabs(number) <= 65536.0) || number != std::nearbyint(number))
    object.fail("pickle.type_error", fmt::format("'{}' is no integer", name));
  return static_cast<std::int64_t>(number);
}

AffineWeight read_affine_header(const TorchObject& object) {
  for (const char* name : {"layout_tensor", "layout_type"}) {
    if (object.find(name) != nullptr)
      object.fail(
          kUnsupported,
          fmt::format("has '{}', as torchao <= 0.6 wrote it; convert the model with torchao 0.7",
                      name));
  }
  object.expect_attributes(
      {"tensor_impl", "block_size", "quant_min", "quant_max", "zero_point_domain"});
  AffineWeight out;
  out.fqn = object.fqn();
  out.dtype = object.dtype();
  const auto shape = legacy_matrix_shape(object);
  out.n = shape[0];
  out.k = shape[1];
  if (!is_high_precision(out.dtype)) {
    object.fail(
        "ao.dtype_mismatch",
        fmt::format("has dtype {}; expected float32, float16 or bfloat16", dtype_name(out.dtype)));
  }
  const PickleValue* block_size = object.find("block_size");
  if (block_size == nullptr)
    object.fail("ao.metadata_invalid", "attribute 'block_size' is missing");
  const auto block = pickled_integers(*block_size, object.fqn());
  if (block.size() != 2 || block[0] < 1 || block[1] < 1 || out.n % block[0] != 0 ||
      out.k % block[1] != 0) {
    object.fail("ao.shape_mismatch",
                fmt::format("'block_size' is {}, which does not divide the weight [{}, {}]",
                            shape_to_string(block), out.n, out.k));
  }
  out.block_size = {block[0], block[1]};
  out.quant_min = quant_bound(object, "quant_min");
  out.quant_max = quant_bound(object, "quant_max");
  const Json domain = object.attribute("zero_point_domain");
  if (domain.is_object() && domain.value("_type", Json()) == "ZeroPointDomain") {
    out.zero_point_domain = domain.at("_data").get<std::string>();
  } else if (!domain.is_null()) {
    object.fail("ao.metadata_invalid", "'zero_point_domain' is no ZeroPointDomain");
  }
  return out;
}

TorchEntry read_affine(const TorchObject& object, LegacyActivation activation,
                       LegacyContext& context) {
  AffineWeight weight = read_affine_header(object);
  weight.activation = std::move(activation);
  const TorchObject impl = object.required_object("tensor_impl");
  // Which way the packed data lie. torchao never saved a transposed one.
  if (const PickleValue* transposed = impl.find("transposed");
      transposed != nullptr && (!transposed->is(PickleKind::kBool) || transposed->integer() != 0)) {
    impl.fail(kUnsupported, "is transposed");
  }
  if (const LegacyClass* type = find_legacy_impl(impl.class_name()))
    return type->read_impl(impl, std::move(weight), context);
  object.fail("pickle.type_error", fmt::format("'tensor_impl' is a {}", impl.class_name()));
}

// The weight inside the wrappers; at most one of each.
std::optional<TorchEntry> read_wrapped(const TorchObject& object, LegacyActivation activation,
                                       LegacyContext& context) {
  const std::string_view name = object.class_name();
  if (name == "AffineQuantizedTensor") return read_affine(object, std::move(activation), context);
  const bool is_quantized = activation.kind != LegacyActivation::Kind::kNone;
  if (name == "LinearActivationQuantizedTensor" && !is_quantized) {
    object.expect_attributes({"original_weight_tensor", "input_quant_func", "quant_kwargs"});
    LegacyActivation inner = read_dynamic_activation(object, context);
    inner.pre_scale = std::move(activation.pre_scale);
    return read_wrapped(object.required_object("original_weight_tensor"), std::move(inner),
                        context);
  }
  if (name == "WeightTensorWithLinearActivationQuantizationMetadata" && !is_quantized) {
    object.expect_attributes({"original_weight_tensor", "input_quant_func_static", "scale",
                              "zero_point", "quant_kwargs"});
    LegacyActivation inner = read_static_activation(object);
    inner.pre_scale = std::move(activation.pre_scale);
    return read_wrapped(object.required_object("original_weight_tensor"), std::move(inner),
                        context);
  }
  if (name == "WeightTensorWithLinearActivationScaleMetadata" && !activation.pre_scale &&
      !is_quantized) {
    object.expect_attributes({"original_weight_tensor", "scale"});
    activation.pre_scale = object.required_tensor("scale");
    context.notes.add(object.fqn(),
                      "the activation was divided by a scale; here it is multiplied by the "
                      "inverse, so that outputs differ slightly");
    return read_wrapped(object.required_object("original_weight_tensor"), std::move(activation),
                        context);
  }
  return std::nullopt;
}

}  // namespace

std::array<std::int64_t, 2> legacy_matrix_shape(const TorchObject& object) {
  constexpr std::int64_t kMaxElements = std::int64_t{1} << 56;  // no file holds as many
  const Shape& s = object.shape();
  std::int64_t numel = 0;
  if (s.size() != 2 || s[0] < 1 || s[1] < 1 || __builtin_mul_overflow(s[0], s[1], &numel) ||
      numel > kMaxElements) {
    object.fail("ao.shape_mismatch",
                fmt::format("has shape {}; expected [N, K]", shape_to_string(s)));
  }
  return {s[0], s[1]};
}

std::optional<TorchEntry> read_legacy_class(const TorchObject& object, LegacyContext& context) {
  if (object.class_name() == "Int4OpaqueTensor") return read_int4_opaque(object, context);
  const bool is_wrapper = object.find("original_weight_tensor") != nullptr;
  auto out = read_wrapped(object, {}, context);
  if (!out && is_wrapper) object.fail("pickle.type_error", "wraps what no torchao wraps");
  return out;
}

std::string legacy_class_path(const TorchObject& object) {
  for (const char* inner : {"original_weight_tensor", "tensor_impl"}) {
    if (object.find(inner) == nullptr) continue;
    return fmt::format("{}({})", object.class_name(),
                       legacy_class_path(object.required_object(inner)));
  }
  return std::string(object.class_name());
}

Tensor inverted_scale(const TorchTensor& scale, std::int64_t k, std::string_view fqn) {
  if (!is_high_precision(scale.dtype())) {
    throw CheckpointError(fmt::format("weight {}: the scale of the activation is {}",
                                      quoted_name(fqn), dtype_name(scale.dtype())),
                          "ao.dtype_mismatch");
  }
  const Tensor values = scale.read();
  if (values.numel() != k && values.numel() != 1) {
    throw CheckpointError(
        fmt::format("weight {}: the scale of the activation has shape {}; expected [{}]",
                    quoted_name(fqn), shape_to_string(values.shape()), k),
        "ao.shape_mismatch");
  }
  Tensor out = Tensor::empty(DType::kFloat32, {k});
  auto* to = out.mutable_data<float>();
  for (std::int64_t i = 0; i < k; ++i)
    to[i] = 1.0f / load_float(values.dtype(), values.bytes(), values.numel() == 1 ? 0 : i);
  return out;
}

}  // namespace torchao_cpp
