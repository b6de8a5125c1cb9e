// SPDX-License-Identifier: Apache-2.0
#include "selection/fqn_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
// An honest pattern takes some hundred bytes.
constexpr std::size_t kMostPatternBytes = std::size_t{64} << 20;

}  // namespace

FqnRules::FqnRules(ConfigPtr config) : config_(std::move(config)) {
  std::size_t pattern_bytes = 0;
  for (const Entry& entry : config_->fqn_to_config()) {
    const std::string& key = entry.first;
    by_name_.emplace(key, &entry);
    if (key.starts_with(kRegexPrefix)) {
      patterns_.push_back({&entry, PythonRegex(std::string_view(key).substr(kRegexPrefix.size()), key)});
      pattern_bytes += patterns_.back().regex.compiled_bytes();
      if (pattern_bytes > kMostPatternBytes) {
        throw ConfigError(fmt::format("the \"re:\" keys up to '{}' take more than {} bytes compiled; expected fewer or shorter ones",
                                      key, kMostPatternBytes),
                          "validation");
      }
    } else if (entry.second == nullptr && key != "_default") {
      null_names_.push_back(key);
    }
  }
}

const FqnRules::Entry* FqnRules::find_exact(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

const FqnRules::Entry* FqnRules::find_regex(std::span<const std::string_view> names) const {
  for (const Pattern& pattern : patterns_) {
    const auto matches = [&](std::string_view name) { return pattern.regex.matches(name); };
    if (std::any_of(names.begin(), names.end(), matches)) return pattern.entry;
  }
  return nullptr;
}

}  // namespace torchao_cpp
