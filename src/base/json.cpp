// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <fmt/format.h>

#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <vector>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

/// Thrown out of the parser callback only.
struct Refused {
  JsonProblem problem;
};

void append_float(std::string& out, double value) {
  std::string text = fmt::format("{}", value);  // shortest text that reads back, as Python's repr
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  out += text;
}

void append_python(std::string& out, const Json& value, int indent, int level) {
  const auto line_break = [&](int at_level) {
    out += '\n';
    out.append(static_cast<std::size_t>(indent * at_level), ' ');
  };
  if (value.is_object() || value.is_array()) {
    const bool is_object = value.is_object();
    out += is_object ? '{' : '[';
    bool first = true;
    for (auto it = value.begin(); it != value.end(); ++it) {
      if (!first) out += indent >= 0 ? "," : ", ";
      first = false;
      if (indent >= 0) line_break(level + 1);
      if (is_object) {
        out += Json(it.key()).dump(-1, ' ', true);
        out += ": ";
      }
      append_python(out, *it, indent, level + 1);
    }
    if (indent >= 0 && !first) line_break(level);
    out += is_object ? '}' : ']';
  } else if (value.is_number_float()) {
    append_float(out, value.get<double>());
  } else {
    out += value.dump(-1, ' ', true);
  }
}

}  // namespace

std::optional<JsonProblem> try_parse_json(std::string_view text, Json& out, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return JsonProblem{"size", fmt::format("JSON of {} bytes; at most {} are read", text.size(), limits.max_bytes)};
  }
  std::vector<std::set<std::string>> keys;  // one set for each open object
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        if (static_cast<std::size_t>(depth) >= limits.max_depth) {
          throw Refused{{"depth", fmt::format("JSON nested deeper than {} levels", limits.max_depth)}};
        }
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(parsed.get<std::string>()).second) {
          throw Refused{{"duplicate_key", fmt::format("the key {} occurs twice in one object", parsed.dump())}};
        }
        break;
      default:
        break;
    }
    return true;
  };
  try {
    out = Json::parse(text, callback);
  } catch (const Refused& refused) {
    return refused.problem;
  } catch (const Json::exception& e) {
    const std::string_view message = e.what();
    const bool utf8 = message.find("UTF-8") != std::string_view::npos;
    return JsonProblem{utf8 ? "utf8" : "syntax", std::string(message)};
  }
  return std::nullopt;
}

Json parse_json(std::string_view text, std::string_view where, const JsonLimits& limits) {
  Json value;
  if (const auto problem = try_parse_json(text, value, limits)) {
    throw ConfigError(fmt::format("{}: {}", where, problem->message), "json");
  }
  return value;
}

Json read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw IoError(fmt::format("{}: is a folder; expected a JSON file", path.string()));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError(fmt::format("{}: cannot be opened for reading", path.string()));
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) throw IoError(fmt::format("{}: cannot be read", path.string()));
  return parse_json(text.str(), path.string(), limits);
}

std::string dump_json_python(const Json& value, int indent) {
  std::string out;
  append_python(out, value, indent, 0);
  return out;
}

std::string_view json_type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    default:
      return "a number";
  }
}

}  // namespace torchao_cpp
