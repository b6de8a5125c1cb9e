// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <deque>
#include <string_view>
#include <vector>

#include "io/pickle_globals.h"

namespace torchao_cpp {

enum class PickleKind : std::uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kTuple,
  kList,
  kDict,
  kGlobal,
  kStorage,  ///< A persistent id, checked: "storage", class, key, location, element count.
  kObject,   ///< What a global was applied to, as data: nothing was called.
};

/// One value of a pickle. Values are shared: two containers may refer to one value, and a list may
/// even contain itself through another one. Whoever walks down must bound both depth and number of
/// steps.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  std::uint8_t depth =
      0;  ///< Of a container: levels below it, itself included, when it was last changed.
  bool is_built = false;  ///< kObject: items.back() is the dict that BUILD gave.
  const PickleGlobal* global =
      nullptr;  ///< kGlobal; the class or function of a kObject; OrderedDict for one of those.
  std::int64_t bits = 0;  ///< kBool, kInt: the value; kFloat: its bits; kString: its length.
  const char* characters = nullptr;  ///< kString: in the pickle's own bytes.
  /// kTuple, kList: the items. kDict: key, value, key, value, ... kStorage: the five. kObject: the
  /// tuple of arguments.
  std::vector<const PickleValue*> items;

  bool is(PickleKind k) const noexcept { return kind == k; }
  std::int64_t integer() const noexcept { return bits; }
  double number() const noexcept { return std::bit_cast<double>(bits); }
  std::string_view text() const noexcept { return {characters, static_cast<std::size_t>(bits)}; }
  /// True for a global, or an object of a global, in this role.
  bool has_role(PickleRole role) const noexcept {
    return global != nullptr && global->role == role;
  }
  bool is_object(PickleRole role) const noexcept {
    return kind == PickleKind::kObject && has_role(role);
  }
  bool is_global(PickleRole role) const noexcept {
    return kind == PickleKind::kGlobal && has_role(role);
  }
};

/// All values of a pickle, which own nothing of each other: they go together, without recursion.
struct PickleDocument {
  std::deque<PickleValue> values;
  const PickleValue* root = nullptr;  ///< A dict.
};

}  // namespace torchao_cpp
