// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "config/config_type.h"

namespace torchao_cpp {

/// One member of a torchao enum. Members that share an ordinal are aliases: the first of them is the name written back.
struct WireEnumMember {
  std::string_view name;   ///< "PLAIN_INT32": what `_data` holds.
  std::string_view value;  ///< "plain_int32": the plain string spelling, for string enums.
  int ordinal = 0;         ///< The value of our C++ enum, where there is one.
};

/// An enum that configs may hold.
struct WireEnum {
  std::string_view type;
  bool is_string_enum = false;
  std::span<const WireEnumMember> members;

  /// The member called `name` under its canonical name; null if there is none.
  const WireEnumMember* find_name(std::string_view name) const noexcept;
  /// The member whose string value is `value`; null for other enums.
  const WireEnumMember* find_value(std::string_view value) const noexcept;
  /// "PLAIN, PRESHUFFLED, ..." for messages.
  std::string names() const;
};

/// A dataclass or named tuple that configs may hold: three keys, version 1, no `version` argument.
struct WireClass {
  std::string_view type;
  std::span<const FieldSpec> fields;
};

const WireEnum* find_wire_enum(std::string_view type) noexcept;
const WireClass* find_wire_class(std::string_view type) noexcept;

/// The name torch prints for the dtype that torch calls `name`: "half" -> "float16", "int8" -> "int8"; nullopt where
/// torch has no dtype of that name. Covers every dtype of torch 2.13, also those that DType does not have.
std::optional<std::string_view> canonical_torch_dtype(std::string_view name) noexcept;

}  // namespace torchao_cpp
