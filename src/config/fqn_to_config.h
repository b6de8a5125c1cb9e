// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config_type.h"
#include "torchao_cpp/config.h"

namespace torchao_cpp {

/// torchao's FqnToConfig: the one config made of other configs.
extern const ConfigType kFqnToConfigType;

/// True for FqnToConfig and the names older versions wrote: ModuleFqnToConfig, AOPerModuleConfig.
bool is_fqn_to_config_name(std::string_view type_name) noexcept;

/// One decoded entry of an fqn map.
struct FqnEntry {
  std::string key;
  Json wire;         ///< As it is written back.
  ConfigPtr config;  ///< Null for a null entry.
};
using FqnEntries = std::vector<FqnEntry>;

/// Merges the two maps of an FqnToConfig as its constructor does: an empty one becomes the other. Fills both fields of
/// `data` and returns the children in file order. Adds the warning about "_default".
/// Throws ConfigError (validation) when both are given and differ.
std::vector<std::pair<std::string, ConfigPtr>> merge_fqn_maps(FqnEntries fqn_to_config, FqnEntries module_fqn_to_config,
                                                              ConfigData& data, std::vector<ConfigWarning>* warnings);

}  // namespace torchao_cpp
