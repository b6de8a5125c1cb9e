// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/json.h"
#include "torchao_cpp/config.h"

namespace torchao_cpp {

/// upgrade_legacy_config on parsed JSON: returns today's form, adding a warning (kind "legacy_config") for each change;
/// the value itself where it is today's. Throws ConfigError (legacy_config).
Json upgrade_legacy_wire(const Json& wire, std::vector<ConfigWarning>* warnings);

/// The string form of quant_type ("int4_weight_only" with quant_type_kwargs, transformers <= 4.5x) -> today's config.
/// `kwargs` may be null. Throws ConfigError (legacy_config) for names without a meaning today.
Json upgrade_string_quant_type(std::string_view quant_type, const Json& kwargs, std::vector<ConfigWarning>* warnings);

}  // namespace torchao_cpp
