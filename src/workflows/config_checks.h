// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/json.h"
#include "config/config_fields.h"
#include "torchao_cpp/error.h"

/// Questions about wire JSON values that the configs' checks of several families ask.
namespace torchao_cpp {

/// True for {"_type": one of `types`, ..}.
inline bool has_type(const Json& value, std::initializer_list<std::string_view> types) {
  if (!value.is_object() || !value.contains("_type") || !value["_type"].is_string()) return false;
  const auto& got = value["_type"].get_ref<const std::string&>();
  return std::find(types.begin(), types.end(), got) != types.end();
}

/// Member `name` of the `_data` of a granularity, or `absent` where it has none; null where the value has no `_data` object,
/// which a file may leave out.
inline Json granularity_member(const Json& granularity, const std::string& name, Json absent) {
  const auto data = granularity.find("_data");
  if (data == granularity.end() || !data->is_object()) return nullptr;
  const auto member = data->find(name);
  return member == data->end() ? absent : *member;
}

/// True for {"_type": enum_type, "_data": one of `members`}.
inline bool is_enum_member(const Json& value, std::string_view enum_type,
                           std::initializer_list<std::string_view> members) {
  if (!has_type(value, {enum_type}) || !value.contains("_data") || !value["_data"].is_string())
    return false;
  const auto& got = value["_data"].get_ref<const std::string&>();
  return std::find(members.begin(), members.end(), got) != members.end();
}

/// A value for messages: granularities and enum members as Python prints them, everything else as
/// JSON.
inline std::string printed(const Json& value) {
  if (value.is_null()) return "None";
  if (has_type(value, {"PerTensor", "PerToken", "PerRow", "PerAxis", "PerGroup", "PerBlock"})) {
    try {
      return to_string(granularity_from_json(value, "granularity"));
    } catch (const Error&) {
      return value.dump();
    }
  }
  if (value.is_object() && value.size() == 2 && value.contains("_type") &&
      value.contains("_data") && value["_type"].is_string() && value["_data"].is_string()) {
    return value["_type"].get<std::string>() + "." + value["_data"].get<std::string>();
  }
  return value.dump();
}

}  // namespace torchao_cpp
