// SPDX-License-Identifier: Apache-2.0
#include "io/json_events.h"

#include <fmt/format.h>

#include "base/json_problems.h"
#include "io/quoted_name.h"

namespace torchao_cpp {

/// The interface that the JSON library calls.
class JsonEvents::Adapter {
 public:
  explicit Adapter(JsonEvents& events) : events_(events) {}

  bool null() { return events_.on_scalar({}); }
  bool boolean(bool value) { return events_.on_scalar({JsonScalar::Kind::kBoolean, value ? 1u : 0u, {}}); }
  // The library reports "-0" here too, so this is never a plain unsigned integer.
  bool number_integer(std::int64_t) { return events_.on_scalar({JsonScalar::Kind::kNegative, 0, {}}); }
  bool number_unsigned(std::uint64_t value) { return events_.on_scalar({JsonScalar::Kind::kUnsigned, value, {}}); }
  bool number_float(double, const std::string&) { return events_.on_scalar({JsonScalar::Kind::kFloat, 0, {}}); }
  bool string(std::string& value) { return events_.on_scalar({JsonScalar::Kind::kString, 0, std::move(value)}); }
  template <typename Binary>
  bool binary(Binary&) {
    return events_.refuse("syntax", "binary values are no JSON");
  }
  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& key) {
    if (!events_.open_.back().insert(key).second) {
      return events_.refuse("duplicate_key", fmt::format("the key {} occurs twice in one object", quoted_name(key)));
    }
    return events_.on_key(std::move(key));
  }
  template <typename Exception>
  bool parse_error(std::size_t, const std::string&, const Exception& error) {
    JsonProblem problem = problem_of_json_library(error);
    return events_.refuse(problem.kind, std::move(problem.message));
  }

 private:
  bool open(bool is_object) {
    if (events_.open_.size() >= events_.max_depth_) {
      return events_.refuse("depth", fmt::format("JSON nested deeper than {} levels", events_.max_depth_));
    }
    events_.open_.emplace_back();
    return events_.on_open(is_object);
  }
  bool close() {
    const bool go_on = events_.on_close();
    events_.open_.pop_back();
    return go_on;
  }

  JsonEvents& events_;
};

std::optional<JsonProblem> JsonEvents::parse(std::string_view text) {
  problem_.reset();
  open_.clear();
  if (auto problem = find_forbidden_json_bytes(text)) {
    refuse(problem->kind, std::move(problem->message));
  } else {
    Adapter adapter(*this);
    const bool whole = Json::sax_parse(text.begin(), text.end(), &adapter);
    if (!whole && !problem_) refuse("syntax", "no JSON value");
  }
  return problem_;
}

bool JsonEvents::refuse(std::string_view kind, std::string message) {
  if (!problem_) problem_ = JsonProblem{std::string(kind), std::move(message)};
  return false;
}

}  // namespace torchao_cpp
