// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {

bool should_skip(std::string_view prefix, std::span<const std::string> skip_modules) {
  const std::string dotted_prefix = fmt::format(".{}.", prefix);
  return std::any_of(skip_modules.begin(), skip_modules.end(), [&](const std::string& entry) {
    return entry == prefix || dotted_prefix.find(fmt::format(".{}.", entry)) != std::string::npos;
  });
}

}  // namespace torchao_cpp
