// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "selection/python_regex.h"
#include "torchao_cpp/config.h"

namespace torchao_cpp {

/// The entries of an FqnToConfig, ready for look-ups.
class FqnRules {
 public:
  using Entry = std::pair<std::string, ConfigPtr>;

  /// Compiles the "re:" keys. `config` is an FqnToConfig. Throws ConfigError for a key that is no regular expression.
  explicit FqnRules(ConfigPtr config);

  /// The entry whose key is `name`; null when there is none.
  const Entry* find_exact(std::string_view name) const;
  /// The first "re:" entry in file order that matches one of `names` in full.
  const Entry* find_regex(std::span<const std::string_view> names) const;
  const Entry* find_default() const { return find_exact("_default"); }
  /// Names of the entries that say null, but for "re:" keys and "_default".
  const std::vector<std::string>& null_names() const noexcept { return null_names_; }

 private:
  struct Pattern {
    const Entry* entry;
    PythonRegex regex;
  };

  ConfigPtr config_;
  std::unordered_map<std::string_view, const Entry*> by_name_;
  std::vector<Pattern> patterns_;
  std::vector<std::string> null_names_;
};

}  // namespace torchao_cpp
