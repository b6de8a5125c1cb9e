// SPDX-License-Identifier: Apache-2.0
#include "core/checkpoint_attributes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace torchao_cpp {
namespace {

constexpr std::array<std::string_view, 24> kDTypes{
    "float32",    "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float4_e2m1fn_x2", "int1",
    "int2",       "int3",    "int4",     "int5",          "int6",        "int7",           "int8",             "uint1",
    "uint2",      "uint3",   "uint4",    "uint5",         "uint6",       "uint7",          "uint8",            "int32"};
constexpr std::array<std::string_view, 3> kMappingTypes{"SYMMETRIC", "ASYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"};
constexpr std::array<std::string_view, 4> kScaleCalculationModes{"FLOOR", "RCEIL", "CEIL", "EVEN"};

/// What `_data` of a tagged object holds.
enum class DataForm { kMember, kAnyString, kObject };

struct TaggedType {
  std::string_view name;
  DataForm form;
  std::span<const std::string_view> members = {};
};
const std::array<TaggedType, 11> kTaggedTypes{{
    {"torch.dtype", DataForm::kMember, kDTypes},
    {"MappingType", DataForm::kMember, kMappingTypes},
    {"ScaleCalculationMode", DataForm::kMember, kScaleCalculationModes},
    {"KernelPreference", DataForm::kAnyString},
    {"PerRow", DataForm::kObject},
    {"PerTensor", DataForm::kObject},
    {"Float8MMConfig", DataForm::kObject},
    {"QuantizeTensorToFloat8Kwargs", DataForm::kObject},
    {"QuantizeTensorToInt8Kwargs", DataForm::kObject},
    {"QuantizeTensorToMXKwargs", DataForm::kObject},
    {"QuantizeTensorToNVFP4Kwargs", DataForm::kObject},
}};

constexpr int kMaxDepth = 16;  // torchao's deepest value has 4 levels

AttributeProblem invalid(std::string message) { return {"ao.metadata_invalid", std::move(message)}; }

std::optional<AttributeProblem> check_value(const Json& value, const std::string& path, int depth);

std::optional<AttributeProblem> check_items(const Json& object, const std::string& path, int depth) {
  for (const auto& [name, item] : object.items()) {
    if (auto problem = check_value(item, path.empty() ? name : path + "." + name, depth)) return problem;
  }
  return std::nullopt;
}

std::optional<AttributeProblem> check_tagged(const Json& value, const std::string& path, int depth) {
  if (!value["_type"].is_string()) return invalid(fmt::format("'{}': _type is no string", path));
  const auto& type = value["_type"].get_ref<const std::string&>();
  const auto* known = std::find_if(kTaggedTypes.begin(), kTaggedTypes.end(),
                                   [&](const TaggedType& t) { return t.name == type; });
  if (known == kTaggedTypes.end()) {
    return AttributeProblem{"ao.unsupported_type",
                            fmt::format("'{}' has _type {}, which no torchao checkpoint may hold", path, value["_type"].dump())};
  }
  const auto data = value.find("_data");
  if (data == value.end()) return invalid(fmt::format("'{}': a {} without _data", path, type));
  if (known->form == DataForm::kObject) {
    if (!data->is_object()) {
      return invalid(fmt::format("'{}': _data of a {} is {}; expected an object", path, type, json_type_name(*data)));
    }
    return check_items(*data, path, depth + 1);
  }
  if (!data->is_string()) {
    return invalid(fmt::format("'{}': _data of a {} is {}; expected a string", path, type, json_type_name(*data)));
  }
  const auto& member = data->get_ref<const std::string&>();
  if (known->form == DataForm::kMember &&
      std::find(known->members.begin(), known->members.end(), member) == known->members.end()) {
    return invalid(fmt::format("'{}' is {} {}; expected one of {}", path, type, data->dump(), fmt::join(known->members, ", ")));
  }
  return std::nullopt;
}

std::optional<AttributeProblem> check_value(const Json& value, const std::string& path, int depth) {
  if (depth > kMaxDepth) return invalid(fmt::format("attributes are nested deeper than {} levels", kMaxDepth));
  if (value.is_object()) return value.contains("_type") ? check_tagged(value, path, depth) : check_items(value, path, depth + 1);
  if (value.is_array()) {
    for (const Json& item : value) {
      if (auto problem = check_value(item, path, depth + 1)) return problem;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<AttributeProblem> check_attribute_types(const Json& attributes) {
  if (!attributes.is_object()) {
    return invalid(fmt::format("attributes are {}; expected an object", json_type_name(attributes)));
  }
  return check_items(attributes, "", 1);
}

}  // namespace torchao_cpp
