// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace torchao_cpp {

/// Keeps the order of keys: the order of an fqn map decides which rule wins.
using Json = nlohmann::ordered_json;

struct JsonLimits {
  std::size_t max_depth = 64;
  std::size_t max_bytes = 256u << 20;
};

/// What strict parsing found wrong. `kind` is "syntax", "duplicate_key", "depth", "utf8" or "size".
struct JsonProblem {
  std::string kind;
  std::string message;
};

/// Parses one JSON value and nothing but white space after it. Refuses duplicate keys at any level, nesting deeper than the
/// limit, texts longer than the limit, invalid UTF-8, raw NUL bytes anywhere, a byte order mark, NaN/Infinity literals and
/// comments. Returns the problem, or nullopt after filling `out`.
std::optional<JsonProblem> try_parse_json(std::string_view text, Json& out, const JsonLimits& limits = {});

/// As above; throws ConfigError (kind "json") with `where` in front of the message.
Json parse_json(std::string_view text, std::string_view where, const JsonLimits& limits = {});

/// Reads and parses a file. Throws IoError or ConfigError (kind "json").
Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

/// Python json.dumps text: ", " and ": " separators, ensure_ascii escapes, floats as Python's repr; `indent` >= 0
/// breaks lines as json.dumps(indent=n) does.
std::string dump_json_python(const Json& value, int indent = -1);

/// "object", "array", "string", "number", ... for messages.
std::string_view json_type_name(const Json& value);

}  // namespace torchao_cpp
