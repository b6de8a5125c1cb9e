// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "console.h"

/// The only place of the command that sees the JSON library.
namespace torchao_cpp::cli {

/// Keys stay in the order they are set.
using Json = nlohmann::ordered_json;

/// Writes one indented JSON value and a line break to standard output. Bytes that are no UTF-8
/// become U+FFFD.
inline void print_json(const Json& value) {
  write_out(value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace torchao_cpp::cli
