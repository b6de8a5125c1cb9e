// SPDX-License-Identifier: Apache-2.0
#include "conformance/golden_entry.h"

#include <algorithm>
#include <array>

#include "core/float_formats.h"
#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp::conformance {
namespace {

constexpr std::string_view kPartPrefix = "q.";

struct EnumField {
  std::string_view field;
  std::string_view type;
};
constexpr std::array<EnumField, 3> kEnumFields{{
    {"mapping_type", "MappingType"},
    {"kernel_preference", "KernelPreference"},
    {"scaling_mode", "ScaleCalculationMode"},
}};

constexpr std::string_view kNamedTuple = "mm_config";

// Tensors of an entry that are no stored parts: codes is the unpacked weight, for checking a
// packing.
constexpr std::string_view kUnpackedCodes = "codes";
// Recorded in the manifest, but torchao derives it from the tensors.
constexpr std::string_view kPaddedShape = "padded_shape";

Json value_to_wire(std::string_view field, const Json& value) {
  if (value.is_string()) {
    for (const EnumField& e : kEnumFields) {
      if (e.field == field) return Json{{"_type", std::string(e.type)}, {"_data", value}};
    }
    // torch has no fp6 dtypes; torchao keeps their names as strings.
    const auto& text = value.get_ref<const std::string&>();
    const bool is_dtype =
        field.ends_with("dtype") && dtype_from_name(text) && !text.starts_with("fp6_");
    return is_dtype ? Json{{"_type", "torch.dtype"}, {"_data", value}} : value;
  }
  if (!value.is_object()) return value;
  Json data = Json::object();
  for (const auto& [name, item] : value.items()) {
    if (name != "_type") data[name] = value_to_wire(name, item);
  }
  // Named tuples come without a type; only one occurs. Other objects without one are plain dicts.
  if (!value.contains("_type") && field != kNamedTuple) return data;
  const std::string type = value.value("_type", "Float8MMConfig");
  return Json{{"_type", type}, {"_data", data}};
}

Json nested_values(const Tensor& t, std::size_t dim, std::int64_t& next) {
  if (dim == t.shape().size()) {
    const std::int64_t i = next++;
    if (t.dtype() == DType::kInt8) return t.data<std::int8_t>()[i];
    return static_cast<double>(load_float(t.dtype(), t.bytes(), i));
  }
  Json list = Json::array();
  for (std::int64_t i = 0; i < t.shape()[dim]; ++i) list.push_back(nested_values(t, dim + 1, next));
  return list;
}

void fill_tensors(Json& value, const GoldenEntry& entry) {
  if (!value.is_structured()) return;
  for (const auto& [name, item] : value.items()) {
    const Tensor stored = entry.tensor(std::string(kPartPrefix) + name);
    if (value.is_object() && item.is_null() && stored.defined()) {
      std::int64_t next = 0;
      item = nested_values(stored, 0, next);
    } else {
      fill_tensors(item, entry);
    }
  }
}

}  // namespace

GoldenEntry GoldenEntry::load(const std::filesystem::path& folder, const Json& manifest) {
  GoldenEntry entry;
  entry.manifest = manifest;
  const std::filesystem::path file = manifest.at("file").get<std::string>();
  entry.name = file.stem().string();
  const Checkpoint checkpoint(folder / file);
  for (const std::string& name : checkpoint.names())
    entry.tensors[name] = checkpoint.entry(name).plain;
  return entry;
}

Tensor GoldenEntry::tensor(std::string_view tensor_name) const {
  const auto it = tensors.find(tensor_name);
  return it == tensors.end() ? Tensor{} : it->second;
}

Json GoldenEntry::rule(std::string_view tensor_name) const {
  const Json& rules = manifest.at("expect");
  const auto it = rules.find(std::string(tensor_name));
  return it == rules.end() ? Json{{"kind", "info"}} : *it;
}

TensorParts GoldenEntry::parts() const {
  TensorParts out;
  out.class_name = class_name();
  Json attributes = attributes_to_wire(manifest.at("attributes"));
  // Its tensors are flat, and torchao keeps the shape outside its attributes.
  if (out.class_name == "NF4Tensor")
    attributes["shape"] = Json::array({manifest.at("N"), manifest.at("K")});
  out.attributes = attributes.dump();
  for (const auto& [name, tensor] : tensors) {
    if (!name.starts_with(kPartPrefix)) continue;
    const std::string part = name.substr(kPartPrefix.size());
    if (part == kUnpackedCodes) continue;
    // The golden files hold e8m0 scales as their raw bytes.
    const bool is_e8m0 =
        out.class_name == "MXTensor" && part == "scale" && tensor.dtype() == DType::kUInt8;
    out.parts.emplace_back(part, is_e8m0 ? tensor.view_as(DType::kFloat8E8M0FNU) : tensor);
  }
  return out;
}

Tensor GoldenEntry::weight_to_quantize() const {
  const Tensor weight = tensor("weight");
  const Tensor act_pre_scale = tensor("q.act_pre_scale");
  if (!act_pre_scale.defined()) return weight;
  Tensor scaled = Tensor::empty(weight.dtype(), weight.shape());
  std::byte* to = scaled.mutable_bytes();
  for (std::int64_t i = 0; i < weight.numel(); ++i) {
    const float factor =
        1.0f / load_float(act_pre_scale.dtype(), act_pre_scale.bytes(), i % act_pre_scale.numel());
    store_float(weight.dtype(), to, i, load_float(weight.dtype(), weight.bytes(), i) * factor);
  }
  return scaled;
}

Json attributes_to_wire(const Json& attributes) {
  Json out = Json::object();
  for (const auto& [name, value] : attributes.items()) {
    if (name != kPaddedShape) out[name] = value_to_wire(name, value);
  }
  return out;
}

Json config_to_quantize(const GoldenEntry& entry) {
  Json config = entry.manifest.at("config");
  if (config.is_object() && config.contains("_data") && config["_data"].contains("base_config")) {
    Json base = config["_data"]["base_config"];
    config = std::move(base);
  }
  fill_tensors(config, entry);
  return config;
}

}  // namespace torchao_cpp::conformance
