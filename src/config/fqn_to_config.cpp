// SPDX-License-Identifier: Apache-2.0
#include "config/fqn_to_config.h"

#include <algorithm>
#include <array>
#include <map>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::array<FieldSpec, 2> kFields{{{"fqn_to_config", "{}"}, {"module_fqn_to_config", "{}"}}};
constexpr std::array<std::string_view, 3> kNames{"FqnToConfig", "ModuleFqnToConfig", "AOPerModuleConfig"};

// Two maps are equal whatever the order of their keys, as Python dicts are.
bool same_entries(const FqnEntries& a, const FqnEntries& b) {
  if (a.size() != b.size()) return false;
  std::map<std::string_view, const Json*> by_key;
  for (const FqnEntry& entry : a) by_key[entry.key] = &entry.wire;
  return std::all_of(b.begin(), b.end(), [&](const FqnEntry& entry) {
    const auto it = by_key.find(entry.key);
    return it != by_key.end() && *it->second == entry.wire;
  });
}

Json to_wire(const FqnEntries& entries) {
  Json out = Json::object();
  for (const FqnEntry& entry : entries) out[entry.key] = entry.wire;
  return out;
}

}  // namespace

const ConfigType kFqnToConfigType{
    .name = "FqnToConfig",
    .version = 1,
    .declares_version = true,
    .fields = kFields,
    .post_init = nullptr,
    .quantize_tensor = nullptr,
    .unsupported = "FqnToConfig holds one config for each layer; quantize each weight by the config that its name selects",
    .summary = "a config for each layer: exact names, re: patterns, _default",
    .operation = "",
};

bool is_fqn_to_config_name(std::string_view type_name) noexcept {
  return std::find(kNames.begin(), kNames.end(), type_name) != kNames.end();
}

std::vector<std::pair<std::string, ConfigPtr>> merge_fqn_maps(FqnEntries fqn_to_config, FqnEntries module_fqn_to_config,
                                                              ConfigData& data, std::vector<ConfigWarning>* warnings) {
  if (!fqn_to_config.empty() && !module_fqn_to_config.empty() && !same_entries(fqn_to_config, module_fqn_to_config)) {
    throw ConfigError("`fqn_to_config` and `module_fqn_to_config` are both specified and are not equal!", "validation");
  }
  if (fqn_to_config.empty()) fqn_to_config = module_fqn_to_config;
  if (module_fqn_to_config.empty()) module_fqn_to_config = fqn_to_config;

  data.fields["fqn_to_config"] = to_wire(fqn_to_config);
  data.fields["module_fqn_to_config"] = to_wire(module_fqn_to_config);
  std::vector<std::pair<std::string, ConfigPtr>> children;
  for (FqnEntry& entry : fqn_to_config) {
    if (entry.key == "_default" && warnings != nullptr) {
      warnings->push_back({"default_key_deprecated",
                           "FqnToConfig: the key '_default' is deprecated and may go in a later torchao; name the layers or "
                           "use a re: pattern"});
    }
    children.emplace_back(std::move(entry.key), std::move(entry.config));
  }
  return children;
}

}  // namespace torchao_cpp
