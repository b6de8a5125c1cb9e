// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "config/config_type.h"
#include "torchao_cpp/config.h"

namespace torchao_cpp {

/// torchao's config_from_dict: wire JSON -> config, over the configs of `workflows` and FqnToConfig, in torchao's order
/// of checks. `where` stands in front of messages ("config.json: quantization_config.quant_type.default"); may be empty.
/// Throws ConfigError whose kind is one of not_a_dict, missing_type_or_data, unknown_type, unknown_field,
/// missing_field, version_not_accepted, bad_enum_or_dtype_name, validation. Warnings (may be null) have kinds
/// version_mismatch and default_key_deprecated. Stricter than torchao in three points, where torchao would build an
/// object that no code can use: a version that is not an integer, an fqn map entry that is no config, and a dtype
/// that names some other attribute of torch.
ConfigPtr config_from_wire(const Json& wire, std::span<const Workflow* const> workflows,
                           std::vector<ConfigWarning>* warnings = nullptr, std::string_view where = {});

/// {"_type": .., "_version": .., "_data": ..} as torchao's config_to_dict gives it.
Json config_to_wire(const AOBaseConfig& config);

/// The config class of that name, or null.
const ConfigType* find_config_type(std::string_view name, std::span<const Workflow* const> workflows) noexcept;

}  // namespace torchao_cpp
