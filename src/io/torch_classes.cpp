// SPDX-License-Identifier: Apache-2.0
#include "io/torch_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/parts_reader.h"
#include "io/quoted_name.h"

namespace torchao_cpp {
namespace {

/// What the state of one class becomes. The attributes themselves are checked by the class.
struct TorchClass {
  std::string_view name;
  std::array<std::string_view, 6>
      tensors;  ///< Optional ones first, as in torchao's metadata; padded with "".
  bool has_dtype = false;
  bool has_shape = false;
};

constexpr auto kClasses = std::to_array<TorchClass>({
    {"Int8Tensor",
     {"zero_point", "act_quant_scale", "act_quant_zero_point", "act_pre_scale", "qdata", "scale"},
     true,
     false},
    {"Float8Tensor", {"qdata", "scale"}, true, false},
    {"IntxUnpackedToInt8Tensor", {"qdata", "scale", "zero_point"}, true, false},
    {"Int4Tensor", {"act_pre_scale", "qdata", "scale", "zero_point"}, false, true},
    {"Int4TilePackedTo4dTensor", {"act_pre_scale", "qdata", "scale_and_zero"}, false, true},
    {"Int4PlainInt32Tensor", {"act_pre_scale", "qdata", "scale", "zero_point"}, false, true},
    {"Float8Sparse2x4_2DData2DMetadataTensor", {"qdata", "sparse_metadata", "scale"}, true, false},
    {"PrototypeFloat8Tensor",
     {"act_quant_scale", "output_act_quant_scale", "qdata", "scale"},
     true,
     false},
    {"UIntxBitPackedTensor", {"qdata", "scale", "zero_point"}, true, false},
    {"NF4Tensor",
     {"quantized_scalers", "quantization_factor", "scaler_mean", "quantized_data", "nf4"},
     false,
     true},
    {"MXTensor", {"qdata", "scale"}, false, false},
    {"NVFP4Tensor", {"per_tensor_scale", "act_per_tensor_scale", "qdata", "scale"}, false, false},
});

bool is_tensor_name(const TorchClass& type, std::string_view name) {
  return !name.empty() &&
         std::find(type.tensors.begin(), type.tensors.end(), name) != type.tensors.end();
}

std::string attributes_text(const TorchClass& type, const TorchObject& object) {
  Json attributes = Json::object();
  object.for_each([&](std::string_view name, const PickleValue& value) {
    if (is_tensor_name(type, name) || (name == "_is_param" && value.is(PickleKind::kBool))) return;
    attributes[std::string(name)] = object.attribute(name);
  });
  if (type.has_dtype) attributes["dtype"] = dtype_attribute(object.dtype());
  if (type.has_shape) attributes["shape"] = object.shape();
  return dump_json_python(attributes);
}

}  // namespace

std::optional<TorchEntry> read_current_class(const TorchObject& object) {
  const auto* type = std::find_if(kClasses.begin(), kClasses.end(), [&](const TorchClass& c) {
    return c.name == object.class_name();
  });
  if (type == kClasses.end()) return std::nullopt;
  TorchEntry out;
  out.fqn = object.fqn();
  out.is_plain = false;
  std::vector<std::pair<std::string, TorchTensor>> tensors;
  for (const std::string_view name : type->tensors) {
    if (name.empty()) continue;
    if (auto tensor = object.tensor(name)) {
      out.nbytes += tensor->nbytes();
      tensors.emplace_back(name, *std::move(tensor));
    }
  }
  if (tensors.empty()) object.fail("ao.missing_data", "has no tensors");
  out.read = [fqn = out.fqn, class_name = std::string(type->name),
              attributes = attributes_text(*type, object), tensors = std::move(tensors)] {
    CheckpointEntry entry;
    entry.fqn = fqn;
    TensorParts& parts = entry.parts.emplace();
    parts.class_name = class_name;
    parts.attributes = attributes;
    for (const auto& [name, tensor] : tensors) parts.parts.emplace_back(name, tensor.read());
    return entry;
  };
  return out;
}

}  // namespace torchao_cpp
