// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "core/parts_reader.h"
#include "io/legacy_weight.h"

namespace torchao_cpp {
namespace {

Json auto_preference() { return Json{{"_type", "KernelPreference"}, {"_data", "AUTO"}}; }

Json mm_config(const TorchObject& impl) {
  const Json layout = impl.attribute("_layout");
  if (!layout.is_object() || layout.value("_type", Json()) != "Float8Layout")
    impl.fail("ao.metadata_invalid", "'_layout' is no Float8Layout");
  return layout.at("_data").value("mm_config", Json());
}

Json activation_attribute(const LegacyActivation& activation, const Json& config) {
  if (activation.kind == LegacyActivation::Kind::kNone) return nullptr;
  return Json{{"_type", "QuantizeTensorToFloat8Kwargs"},
              {"_data", Json{{"float8_dtype", activation.float8_dtype},
                             {"granularity", activation.granularity},
                             {"mm_config", config},
                             {"hp_value_lb", nullptr},
                             {"hp_value_ub", nullptr},
                             {"kernel_preference", auto_preference()}}}};
}

}  // namespace

// Float8Tensor with the scale in float32, which holds every bfloat16 and float16; with a stored
// scale of the activation PrototypeFloat8Tensor, today's only class that has one.
TorchEntry read_legacy_float8(const TorchObject& impl, AffineWeight weight, LegacyContext&) {
  impl.expect_attributes({"float8_data", "scale", "transposed", "_layout"});
  const TorchTensor data = impl.required_tensor("float8_data");
  const TorchTensor scale = impl.required_tensor("scale");
  const LegacyActivation& activation = weight.activation;
  if (activation.kind != LegacyActivation::Kind::kNone &&
      activation.kind != LegacyActivation::Kind::kFloat8) {
    impl.fail("bin.unsupported_legacy_layout", "has int8 activations for a float8 weight");
  }
  if (activation.pre_scale)
    impl.fail("bin.unsupported_legacy_layout", "scales the activation of a float8 weight");
  if (data.shape() != Shape{weight.n, weight.k}) {
    impl.fail("ao.shape_mismatch", fmt::format("'float8_data' has shape {}; expected [{}, {}]",
                                               shape_to_string(data.shape()), weight.n, weight.k));
  }
  if (scale.numel() != weight.rows() * weight.columns()) {
    impl.fail("ao.shape_mismatch",
              fmt::format("'scale' has shape {}; expected {} elements",
                          shape_to_string(scale.shape()), weight.rows() * weight.columns()));
  }
  if (!is_high_precision(scale.dtype()))
    impl.fail("ao.dtype_mismatch", fmt::format("'scale' is {}", dtype_name(scale.dtype())));
  const Json config = mm_config(impl);
  const Json attributes{{"block_size", block_size_attribute(weight.block_size)},
                        {"mm_config", config},
                        {"act_quant_kwargs", activation_attribute(activation, config)},
                        {"kernel_preference", auto_preference()},
                        {"dtype", dtype_attribute(weight.dtype)}};
  TorchEntry out;
  out.fqn = weight.fqn;
  out.is_plain = false;
  out.nbytes = data.nbytes() + scale.nbytes();
  out.read = [data, scale, weight = std::move(weight), text = dump_json_python(attributes)] {
    CheckpointEntry entry;
    entry.fqn = weight.fqn;
    TensorParts& parts = entry.parts.emplace();
    parts.class_name = weight.activation.scale ? "PrototypeFloat8Tensor" : "Float8Tensor";
    parts.attributes = text;
    if (weight.activation.scale)
      parts.parts.emplace_back("act_quant_scale",
                               weight.activation.scale->read().to(DType::kFloat32));
    parts.parts.emplace_back("qdata", data.read());
    parts.parts.emplace_back(
        "scale", scale.read().to(DType::kFloat32).reshape({weight.rows(), weight.columns()}));
    return entry;
  };
  return out;
}

}  // namespace torchao_cpp
