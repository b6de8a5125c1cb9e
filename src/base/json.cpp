// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <fmt/format.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <unordered_set>
#include <vector>

#include "base/json_problems.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

/// Builds a tree from the parser's events in time linear in the text: the ordered map of the JSON
/// library looks a key up by comparing with every one before it, so here keys are known by a set
/// and values are appended.
class JsonBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit JsonBuilder(std::size_t max_depth) : max_depth_(max_depth) {}

  Json take() { return std::move(root_); }
  JsonProblem take_problem() { return std::move(problem_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& /*value*/) override {
    return refuse("syntax", "binary values are no JSON");
  }

  bool start_object(std::size_t /*elements*/) override {
    keys_.emplace_back();
    return open(Json::object());
  }
  bool start_array(std::size_t /*elements*/) override { return open(Json::array()); }
  bool end_object() override {
    keys_.pop_back();
    open_.pop_back();
    return true;
  }
  bool end_array() override {
    open_.pop_back();
    return true;
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      return refuse("duplicate_key",
                    fmt::format("the key {} occurs twice in one object", Json(name).dump()));
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const Json::exception& e) override {
    problem_ = problem_of_json_library(e);
    return false;
  }

 private:
  bool refuse(std::string kind, std::string message) {
    problem_ = {std::move(kind), std::move(message)};
    return false;
  }

  // The value's place: the root, or the end of the container that is open. Pointers to open
  // containers stay valid, since nothing is added beside one that is open.
  Json& place(Json value) {
    if (open_.empty()) return root_ = std::move(value);
    Json& parent = *open_.back();
    if (parent.is_array()) return parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    using Entries = Json::object_t::Container;
    Entries& entries = parent.get_ref<Json::object_t&>();
    return entries.emplace_back(std::move(key_), std::move(value)).second;
  }

  bool add(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= max_depth_)
      return refuse("depth", fmt::format("JSON nested deeper than {} levels", max_depth_));
    open_.push_back(&place(std::move(container)));
    return true;
  }

  std::size_t max_depth_;
  Json root_;
  std::vector<Json*> open_;
  std::vector<std::unordered_set<std::string>> keys_;  ///< One set for each open object.
  std::string key_;
  JsonProblem problem_;
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

std::optional<JsonProblem> find_forbidden_json_bytes(std::string_view text) {
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    return JsonProblem{"syntax", fmt::format("a NUL byte at offset {}", at)};
  }
  if (text.starts_with("\xEF\xBB\xBF")) {
    return JsonProblem{"syntax", "a byte order mark at offset 0"};
  }
  return std::nullopt;
}

JsonProblem problem_of_json_library(const std::exception& error) {
  const std::string message = error.what();
  return {message.find("UTF-8") != std::string::npos ? "utf8" : "syntax", message};
}

std::optional<JsonProblem> try_parse_json(std::string_view text, Json& out,
                                          const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return JsonProblem{"size", fmt::format("JSON of {} bytes; at most {} are read", text.size(),
                                           limits.max_bytes)};
  }
  if (auto problem = find_forbidden_json_bytes(text)) return problem;
  JsonBuilder builder(limits.max_depth);
  if (!Json::sax_parse(text, &builder)) return builder.take_problem();
  out = builder.take();
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
