// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/json.h"

namespace torchao_cpp {

/// A JSON value without parts, as the parser meets it.
struct JsonScalar {
  enum class Kind { kNull, kBoolean, kUnsigned, kNegative, kFloat, kString };
  Kind kind = Kind::kNull;
  std::uint64_t number = 0;  ///< For kUnsigned; 1 or 0 for kBoolean.
  std::string text;          ///< For kString.
};

/// Reads JSON without building a tree.
///
/// Goals: linear time and no amplification of memory for headers of 100 MB from strangers; the strictness of
/// try_parse_json (duplicate keys at any level, depth, UTF-8, no raw NUL, no byte order mark).
/// Non-goals: keeping values; subclasses take what they want.
class JsonEvents {
 public:
  explicit JsonEvents(std::size_t max_depth = 64) : max_depth_(max_depth) {}
  virtual ~JsonEvents() = default;

  /// Reads one value and nothing but white space after it. Returns the first problem, the subclass's own included.
  std::optional<JsonProblem> parse(std::string_view text);

 protected:
  // Each returns true to go on, or the result of refuse().
  virtual bool on_scalar(JsonScalar value) = 0;
  /// An object or array opens; depth() counts it already.
  virtual bool on_open(bool is_object) = 0;
  virtual bool on_key(std::string key) = 0;
  /// It closes; depth() counts it still.
  virtual bool on_close() = 0;

  /// Number of open objects and arrays.
  std::size_t depth() const noexcept { return open_.size(); }
  /// Stops the parse with this problem; always false.
  bool refuse(std::string_view kind, std::string message);

 private:
  class Adapter;

  std::size_t max_depth_;
  std::vector<std::unordered_set<std::string>> open_;  ///< Keys seen; unused for arrays.
  std::optional<JsonProblem> problem_;
};

}  // namespace torchao_cpp
