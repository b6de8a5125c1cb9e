// SPDX-License-Identifier: Apache-2.0
#include "core/parts_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string dtype_list(std::initializer_list<DType> dtypes) {
  std::vector<std::string_view> names;
  for (const DType d : dtypes) names.push_back(dtype_name(d));
  return fmt::format("{}", fmt::join(names, " or "));
}

struct MappingName {
  MappingType mapping;
  std::string_view name;
};
constexpr std::array<MappingName, 3> kMappingNames{{
    {MappingType::kSymmetric, "SYMMETRIC"},
    {MappingType::kSymmetricNoClippingErr, "SYMMETRIC_NO_CLIPPING_ERR"},
    {MappingType::kAsymmetric, "ASYMMETRIC"},
}};

}  // namespace

PartsReader::PartsReader(const WeightTensorType& type, const TensorParts& parts,
                         std::string_view fqn)
    : type_(type), parts_(parts), fqn_(fqn) {
  if (parts.class_name != type.class_name) {
    fail("ao.unsupported_type", fmt::format("the entry names class '{}'", parts.class_name));
  }
  if (const auto problem = try_parse_json(parts.attributes, attributes_)) {
    fail("ao.metadata_invalid", fmt::format("attributes are not JSON: {}", problem->message));
  }
  if (!attributes_.is_object()) {
    fail("ao.metadata_invalid",
         fmt::format("attributes are a JSON {}; expected an object", json_type_name(attributes_)));
  }
  for (const auto& [name, value] : attributes_.items()) {
    if (!contains(type.tensor_attribute_names, name) &&
        !contains(type.optional_tensor_attribute_names, name)) {
      fail("ao.metadata_invalid", fmt::format("unknown attribute '{}'", name));
    }
  }
  for (const auto& [name, tensor] : parts.parts) {
    if (!contains(type.tensor_data_names, name) &&
        !contains(type.optional_tensor_data_names, name)) {
      fail("ao.metadata_invalid", fmt::format("unknown tensor '{}'", name));
    }
  }
  for (const std::string_view name : type.tensor_data_names) {
    if (!parts.find(name).defined())
      fail("ao.missing_data", fmt::format("required tensor '{}' is missing", name));
  }
}

const Json* PartsReader::attribute(std::string_view name) const {
  const auto it = attributes_.find(std::string(name));
  return it == attributes_.end() || it->is_null() ? nullptr : &*it;
}

const Json& PartsReader::required_attribute(std::string_view name) const {
  const Json* value = attribute(name);
  if (value == nullptr)
    fail("ao.metadata_invalid", fmt::format("attribute '{}' is missing or null", name));
  return *value;
}

const Json& PartsReader::tagged(const Json& value, std::string_view type,
                                std::string_view what) const {
  if (!value.is_object() || !value.contains("_type") || !value["_type"].is_string() ||
      !value.contains("_data")) {
    fail("ao.metadata_invalid",
         fmt::format("'{}' is not {{\"_type\": \"{}\", \"_data\": ..}}", what, type));
  }
  const auto& got = value["_type"].get_ref<const std::string&>();
  if (got != type)
    fail("ao.unsupported_type", fmt::format("'{}' has _type '{}'; expected '{}'", what, got, type));
  return value["_data"];
}

DType PartsReader::dtype(std::string_view name, std::initializer_list<DType> allowed) const {
  const Json& data = tagged(required_attribute(name), "torch.dtype", name);
  if (!data.is_string()) fail("ao.metadata_invalid", fmt::format("'{}' holds no dtype name", name));
  const auto& text = data.get_ref<const std::string&>();
  const auto dtype = dtype_from_name(text);
  if (!dtype || std::find(allowed.begin(), allowed.end(), *dtype) == allowed.end()) {
    fail("ao.metadata_invalid",
         fmt::format("'{}' is dtype '{}'; expected {}", name, text, dtype_list(allowed)));
  }
  return *dtype;
}

std::vector<std::int64_t> PartsReader::integers(std::string_view name, std::size_t rank) const {
  const Json& value = required_attribute(name);
  if (!value.is_array()) {
    fail("ao.metadata_invalid",
         fmt::format("'{}' is a JSON {}; expected an array", name, json_type_name(value)));
  }
  std::vector<std::int64_t> out;
  for (const Json& item : value) {
    if (!item.is_number_integer())
      fail("ao.metadata_invalid", fmt::format("'{}' must hold integers", name));
    // An unsigned value above 2^63 turns negative here and is refused below.
    out.push_back(item.get<std::int64_t>());
  }
  if (out.size() != rank ||
      std::any_of(out.begin(), out.end(), [](std::int64_t v) { return v <= 0; })) {
    fail("ao.shape_mismatch", fmt::format("'{}' is {}; expected {} positive integers", name,
                                          shape_to_string(out), rank));
  }
  return out;
}

BlockSize PartsReader::block_size(std::string_view name, std::int64_t n, std::int64_t k) const {
  const std::vector<std::int64_t> b = integers(name, 2);
  if (n % b[0] != 0 || k % b[1] != 0) {
    fail("ao.shape_mismatch",
         fmt::format("'{}' is [{}, {}], which does not divide the weight [{}, {}]", name, b[0],
                     b[1], n, k));
  }
  return {b[0], b[1]};
}

bool PartsReader::boolean(std::string_view name, bool otherwise) const {
  const Json* value = attribute(name);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    fail("ao.metadata_invalid",
         fmt::format("'{}' is a JSON {}; expected true or false", name, json_type_name(*value)));
  }
  return value->get<bool>();
}

Granularity PartsReader::granularity(const Json& value, std::string_view what) const {
  if (value.is_object() && value.contains("_type") && value["_type"] == "PerTensor") {
    tagged(value, "PerTensor", what);
    return PerTensor{};
  }
  const Json& data = tagged(value, "PerRow", what);
  if (!data.is_object())
    fail("ao.metadata_invalid", fmt::format("'{}': PerRow holds no object", what));
  PerRow row;
  if (data.contains("dim")) {
    if (!data["dim"].is_number_integer())
      fail("ao.metadata_invalid", fmt::format("'{}': dim is no integer", what));
    row.dim = data["dim"].get<std::int64_t>();
  }
  return row;
}

MappingType PartsReader::mapping_type(const Json& value, std::string_view what) const {
  const Json& data = tagged(value, "MappingType", what);
  for (const MappingName& entry : kMappingNames) {
    if (data == entry.name) return entry.mapping;
  }
  fail("ao.metadata_invalid", fmt::format("'{}' is no member of MappingType", what));
}

void PartsReader::expect_dtype(std::string_view name, std::initializer_list<DType> allowed) const {
  const DType got = tensor(name).dtype();
  if (std::find(allowed.begin(), allowed.end(), got) == allowed.end()) {
    fail("ao.dtype_mismatch",
         fmt::format("'{}' is {}; expected {}", name, dtype_name(got), dtype_list(allowed)));
  }
}

void PartsReader::expect_shape(std::string_view name, const Shape& shape) const {
  const Tensor t = tensor(name);
  if (t.shape() != shape) {
    fail("ao.shape_mismatch", fmt::format("'{}' has shape {}; expected {}", name,
                                          shape_to_string(t.shape()), shape_to_string(shape)));
  }
}

std::array<std::int64_t, 2> PartsReader::matrix_shape(std::string_view name) const {
  const Tensor t = tensor(name);
  if (t.dim() != 2 || t.numel() == 0) {
    fail("ao.shape_mismatch", fmt::format("'{}' has shape {}; expected a non-empty 2-D tensor",
                                          name, shape_to_string(t.shape())));
  }
  return {t.shape()[0], t.shape()[1]};
}

Tensor PartsReader::act_pre_scale(std::int64_t k) const {
  const Tensor t = tensor("act_pre_scale");
  if (!t.defined()) return {};
  expect_dtype("act_pre_scale", {DType::kFloat32, DType::kFloat16, DType::kBFloat16});
  if (t.shape() != Shape{k} && t.shape() != Shape{1, k}) {
    fail("ao.shape_mismatch",
         fmt::format("'act_pre_scale' has shape {}; expected [{}]", shape_to_string(t.shape()), k));
  }
  return t.reshape({k});
}

void PartsReader::fail(std::string_view kind, std::string_view message) const {
  throw CheckpointError(fmt::format("weight '{}' ({}): {}", fqn_, type_.class_name, message),
                        std::string(kind));
}

Json dtype_attribute(DType dtype) {
  return Json{{"_type", "torch.dtype"}, {"_data", std::string(dtype_name(dtype))}};
}

Json granularity_attribute(const Granularity& granularity) {
  if (const auto* row = std::get_if<PerRow>(&granularity)) {
    return Json{{"_type", "PerRow"}, {"_data", Json{{"dim", row->dim}}}};
  }
  if (std::holds_alternative<PerTensor>(granularity))
    return Json{{"_type", "PerTensor"}, {"_data", Json::object()}};
  throw UnsupportedError(
      fmt::format("{} has no form in a torchao checkpoint", to_string(granularity)));
}

Json mapping_type_attribute(MappingType mapping) {
  return Json{{"_type", "MappingType"}, {"_data", std::string(mapping_type_name(mapping))}};
}

Json block_size_attribute(const BlockSize& block) { return Json::array({block[0], block[1]}); }

std::string_view mapping_type_name(MappingType mapping) noexcept {
  for (const MappingName& entry : kMappingNames) {
    if (entry.mapping == mapping) return entry.name;
  }
  return "SYMMETRIC";
}

}  // namespace torchao_cpp
