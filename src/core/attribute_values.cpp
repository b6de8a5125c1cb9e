// SPDX-License-Identifier: Apache-2.0
#include "core/attribute_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace torchao_cpp {
namespace {

// In the order of ScaleCalculationMode and KernelPreference.
constexpr std::array<std::string_view, 4> kScalingModes{"FLOOR", "RCEIL", "CEIL", "EVEN"};
constexpr std::array<std::string_view, 5> kKernelPreferences{"AUTO", "TORCH", "MSLK", "EMULATED",
                                                             "TRITON"};

[[noreturn]] void refuse(const PartsReader& reader, const Json& value, std::string_view what,
                         std::string_view expected) {
  reader.fail("ao.metadata_invalid",
              fmt::format("'{}' is a JSON {}; expected {}", what, json_type_name(value), expected));
}

Json tagged_value(std::string_view type, std::string_view data) {
  return Json{{"_type", std::string(type)}, {"_data", std::string(data)}};
}

bool is_fp6(DType dtype) noexcept {
  return dtype == DType::kFloat6E2M3 || dtype == DType::kFloat6E3M2;
}

}  // namespace

const Json& kwargs_value(const PartsReader& reader, const Json& value, std::string_view type,
                         std::string_view what, std::initializer_list<std::string_view> fields) {
  const Json& data = reader.tagged(value, type, what);
  if (!data.is_object()) refuse(reader, data, what, "an object");
  for (const auto& [name, field] : data.items()) {
    if (std::find(fields.begin(), fields.end(), name) == fields.end()) {
      reader.fail("ao.metadata_invalid",
                  fmt::format("'{}' has an unexpected field '{}'", what, name));
    }
  }
  return data;
}

const Json* find_value(const Json& object, std::string_view field) noexcept {
  const auto it = object.find(std::string(field));
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

DType dtype_value(const PartsReader& reader, const Json& value, std::string_view what,
                  std::initializer_list<DType> allowed) {
  const Json& name = value.is_string() ? value : reader.tagged(value, "torch.dtype", what);
  if (!name.is_string()) refuse(reader, name, what, "a dtype name");
  const auto& text = name.get_ref<const std::string&>();
  const auto dtype = dtype_from_name(text);
  if (!dtype || std::find(allowed.begin(), allowed.end(), *dtype) == allowed.end() ||
      is_fp6(*dtype) != value.is_string()) {
    std::string names;
    for (const DType d : allowed)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", dtype_name(d));
    reader.fail("ao.metadata_invalid",
                fmt::format("'{}' is dtype '{}'; expected {}", what, text, names));
  }
  return *dtype;
}

bool boolean_value(const PartsReader& reader, const Json& value, std::string_view what) {
  if (!value.is_boolean()) refuse(reader, value, what, "true or false");
  return value.get<bool>();
}

std::int64_t integer_value(const PartsReader& reader, const Json& value, std::string_view what) {
  if (!value.is_number_integer()) refuse(reader, value, what, "an integer");
  // An unsigned value above 2^63 turns negative here; callers ask for positive ones.
  return value.get<std::int64_t>();
}

double number_value(const PartsReader& reader, const Json& value, std::string_view what) {
  if (!value.is_number()) refuse(reader, value, what, "a number");
  return value.get<double>();
}

ScaleCalculationMode scaling_mode_value(const PartsReader& reader, const Json& value,
                                        std::string_view what) {
  const Json& name = reader.tagged(value, "ScaleCalculationMode", what);
  for (std::size_t i = 0; i < kScalingModes.size(); ++i) {
    if (name == kScalingModes[i]) return static_cast<ScaleCalculationMode>(i);
  }
  reader.fail("ao.metadata_invalid",
              fmt::format("'{}' is no member of ScaleCalculationMode", what));
}

std::string kernel_preference_value(const PartsReader& reader, const Json& value,
                                    std::string_view what) {
  const Json& name = reader.tagged(value, "KernelPreference", what);
  if (!name.is_string()) refuse(reader, name, what, "a member name");
  return name.get<std::string>();
}

Json element_dtype_attribute(DType dtype) {
  if (is_fp6(dtype)) return std::string(dtype_name(dtype));
  return dtype_attribute(dtype);
}

Json scaling_mode_attribute(ScaleCalculationMode mode) {
  return tagged_value("ScaleCalculationMode", kScalingModes[static_cast<std::size_t>(mode)]);
}

Json kernel_preference_attribute(const std::optional<std::string>& member) {
  return member ? tagged_value("KernelPreference", *member) : Json(nullptr);
}

std::string kernel_preference_name(KernelPreference preference) {
  return std::string(kKernelPreferences[static_cast<std::size_t>(preference)]);
}

}  // namespace torchao_cpp
