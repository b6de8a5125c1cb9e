// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace torchao_cpp {

/// Part of a text and whether the pattern matched it.
struct PatternPart {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool is_match = false;
};

/// The pattern of a Split pre-tokenizer: a literal or an Oniguruma regular expression, which runs
/// under PCRE2. Immutable; safe from many threads.
class Pattern {
 public:
  /// `where` starts the message of the UnsupportedError for syntax that PCRE2 would read in another
  /// way or not at all.
  static Pattern regex(std::string_view oniguruma, std::string_view where);
  static Pattern literal(std::string text);

  /// Cuts well-formed UTF-8 into matches and what lies between them, in order and without gaps.
  /// Throws Error (kind "tokenizer") when matching takes more steps than the limit: a pattern made
  /// to explode.
  std::vector<PatternPart> find_matches(std::string_view text) const;

 private:
  struct Compiled;
  Pattern() = default;

  std::shared_ptr<const Compiled> compiled_;  ///< Null for a literal.
  std::string literal_;
};

/// The same expression in PCRE2's syntax: white space by Unicode's property, \u escapes, and Ruby's
/// (?m). Throws UnsupportedError for class intersections, nested classes and \h.
std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where);

}  // namespace torchao_cpp
