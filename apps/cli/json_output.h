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

/// One indented JSON value and a line break. Bytes that are no UTF-8 become U+FFFD.
inline std::string json_text(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Writes json_text to standard output.
inline void print_json(const Json& value) { write_out(json_text(value)); }

}  // namespace torchao_cpp::cli
