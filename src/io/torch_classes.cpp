// SPDX-License-Identifier: Apache-2.0
#include "io/torch_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/parts_reader.h"
#include "io/legacy_classes.h"
#include "io/quoted_name.h"

namespace torchao_cpp {
namespace {

/// What the state of one class becomes. The attributes themselves are checked by the class.
struct TorchClass {
  std::string_view module;
  std::string_view name;
  std::string_view versions;  ///< Of torchao whose objects have these attributes.
  std::array<std::string_view, 6>
      tensors;  ///< Optional ones first, as in torchao's metadata; padded with "".
  bool has_dtype = false;
  bool has_shape = false;
};

constexpr std::string_view kModule = "torchao.quantization";

constexpr auto kClasses = std::to_array<TorchClass>({
    {kModule,
     "Int8Tensor",
     "0.15 to 0.18",
     {"zero_point", "act_quant_scale", "act_quant_zero_point", "act_pre_scale", "qdata", "scale"},
     true,
     false},
    {kModule, "Float8Tensor", "0.13 to 0.18", {"qdata", "scale"}, true, false},
    {kModule,
     "IntxUnpackedToInt8Tensor",
     "0.14 to 0.18",
     {"qdata", "scale", "zero_point"},
     true,
     false},
    {kModule,
     "Int4Tensor",
     "0.13 to 0.18",
     {"act_pre_scale", "qdata", "scale", "zero_point"},
     false,
     true},
    {kModule,
     "Int4TilePackedTo4dTensor",
     "0.14 to 0.18",
     {"act_pre_scale", "qdata", "scale_and_zero"},
     false,
     true},
    {kModule,
     "Int4PlainInt32Tensor",
     "0.14 to 0.18",
     {"act_pre_scale", "qdata", "scale", "zero_point"},
     false,
     true},
    {kModule,
     "Int4PreshuffledTensor",
     "0.18",
     {"group_zero", "row_scale", "qdata", "group_scale"},
     false,
     true},
    {"torchao.quantization.quantize_.workflows.float8."
     "float8_sparse_2x4_2d_data_2d_metadata_tensor",
     "Float8Sparse2x4_2DData2DMetadataTensor",
     "0.18",
     {"qdata", "sparse_metadata", "scale"},
     true,
     false},
    {"torchao.prototype.quantization.float8_static_quant.prototype_float8_tensor",
     "PrototypeFloat8Tensor",
     "0.18",
     {"act_quant_scale", "output_act_quant_scale", "qdata", "scale"},
     true,
     false},
    {"torchao.prototype.quantization.uintx.uintx_bit_packed_tensor",
     "UIntxBitPackedTensor",
     "0.18",
     {"qdata", "scale", "zero_point"},
     true,
     false},
    {"torchao.quantization.quantize_.workflows.nf4.nf4_tensor",
     "NF4Tensor",
     "0.18",
     {"quantized_scalers", "quantization_factor", "scaler_mean", "quantized_data", "nf4"},
     false,
     true},
    {"torchao.prototype.mx_formats.mx_tensor",
     "MXTensor",
     "0.16 to 0.18",
     {"qdata", "scale"},
     false,
     false},
    {"torchao.prototype.mx_formats.nvfp4_tensor",
     "NVFP4Tensor",
     "0.16 to 0.18",
     {"per_tensor_scale", "act_per_tensor_scale", "qdata", "scale"},
     false,
     false},
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
  out.stored_class = type->name;
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

std::vector<BinClassInfo> bin_class_infos() {
  std::vector<BinClassInfo> infos;
  for (const TorchClass& c : kClasses)
    infos.push_back({c.module, c.name, c.versions, {c.name}, {}, {}});
  for (const LegacyClass& c : legacy_classes()) {
    BinClassInfo& info = infos.emplace_back(BinClassInfo{c.module, c.name, c.versions, {}, {}, {}});
    for (const std::string_view name : c.becomes) {
      if (!name.empty()) info.becomes.push_back(name);
    }
    info.adds = c.adds;
    info.unsupported = c.unsupported;
  }
  return infos;
}

}  // namespace torchao_cpp
