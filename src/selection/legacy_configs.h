// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace torchao_cpp {

/// One config object of an old file on its way to today's form. `data` keeps the order of its fields.
struct LegacyConfig {
  std::string type;
  int version = 1;
  Json data = Json::object();
  std::string note;  ///< What was changed and by whom it was written; empty as long as nothing was.
};

/// Brings one config object to today's class, version and fields. Nested values are handled before.
/// Throws ConfigError (legacy_config) for a config without an equivalent.
void upgrade_config_object(LegacyConfig& config);

/// Class names that torchao <= 0.17 wrote and 0.18 does not read: "written by ..; use .. " for messages; empty otherwise.
std::string_view removed_config_hint(std::string_view type) noexcept;

}  // namespace torchao_cpp
