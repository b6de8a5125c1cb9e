// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/json.h"

namespace torchao_cpp {

/// Why the attributes of a checkpoint entry cannot be accepted. `kind` is ao.unsupported_type or ao.metadata_invalid.
struct AttributeProblem {
  std::string kind;
  std::string message;  ///< Names the attribute's path, what it holds and what is expected.
};

/// Checks the tagged objects ({"_type": T, "_data": ..}) at every depth of an entry's attributes: T must be one of the
/// types torchao 0.18 accepts in safetensors metadata, dtypes and enum members must be ones it knows. Kernel preferences
/// are hints and may be any name. Says nothing about which attributes a class has.
/// Source: torchao 0.18 prototype/safetensors/safetensors_utils.py.
std::optional<AttributeProblem> check_attribute_types(const Json& attributes);

}  // namespace torchao_cpp
