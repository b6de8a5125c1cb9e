// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <optional>
#include <string_view>

#include "base/json.h"

namespace torchao_cpp {

/// What the JSON library would let pass: a raw NUL, which it takes for the end of the text, and a
/// byte order mark.
std::optional<JsonProblem> find_forbidden_json_bytes(std::string_view text);

/// The problem behind an exception of the JSON library: "utf8" or "syntax".
JsonProblem problem_of_json_library(const std::exception& error);

}  // namespace torchao_cpp
