// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/json_fields.h"

#include <fmt/format.h>

namespace torchao_cpp {
namespace {

const Json& checked_field(const Json& object, const char* name, bool is_expected,
                          std::string_view expected, std::string_view where) {
  const Json& value = optional_field(object, name, where);
  if (is_expected) return value;
  throw tokenizer_error(
      where, fmt::format("'{}' is {}; expected {}", name, json_type_name(value), expected));
}

}  // namespace

CheckpointError tokenizer_error(std::string_view where, std::string_view message) {
  return CheckpointError(fmt::format("{}: {}", where, message), "tokenizer");
}

const Json& optional_field(const Json& object, const char* name, std::string_view where) {
  static const Json kNull;
  if (!object.is_object())
    throw tokenizer_error(
        where, fmt::format("got {}; expected an object with '{}'", json_type_name(object), name));
  const auto it = object.find(name);
  return it == object.end() ? kNull : *it;
}

std::string string_field(const Json& object, const char* name, std::string_view where) {
  const Json& value = optional_field(object, name, where);
  return checked_field(object, name, value.is_string(), "a string", where).get<std::string>();
}

bool bool_field(const Json& object, const char* name, bool fallback, std::string_view where) {
  const Json& value = optional_field(object, name, where);
  if (value.is_null()) return fallback;
  return checked_field(object, name, value.is_boolean(), "true or false", where).get<bool>();
}

const Json& object_field(const Json& object, const char* name, std::string_view where) {
  return checked_field(object, name, optional_field(object, name, where).is_object(), "an object",
                       where);
}

const Json& array_field(const Json& object, const char* name, std::string_view where) {
  return checked_field(object, name, optional_field(object, name, where).is_array(), "an array",
                       where);
}

}  // namespace torchao_cpp
