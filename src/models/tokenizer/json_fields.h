// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {

/// "where: message" as a CheckpointError of kind "tokenizer".
CheckpointError tokenizer_error(std::string_view where, std::string_view message);

// Members of a JSON object of tokenizer.json. Each throws CheckpointError (kind "tokenizer") when
// `object` is no object or the member has another type; those without a fallback also when it is
// absent.

std::string string_field(const Json& object, const char* name, std::string_view where);
/// `fallback` when absent or null.
bool bool_field(const Json& object, const char* name, bool fallback, std::string_view where);
const Json& object_field(const Json& object, const char* name, std::string_view where);
const Json& array_field(const Json& object, const char* name, std::string_view where);
/// The member, or null when absent.
const Json& optional_field(const Json& object, const char* name, std::string_view where);

}  // namespace torchao_cpp
