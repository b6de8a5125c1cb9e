// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace torchao_cpp {

/// A regular expression of Python's `re` for str, matched in full (re.fullmatch). Runs on PCRE2.
/// Threads: matches() may be called from several at once.
class PythonRegex {
 public:
  /// `key` names the pattern in messages. Throws ConfigError (validation) with the offset for what `re` refuses, and for
  /// the parts of `re` that have no counterpart here: the flags a and L, and \N{NAME}.
  PythonRegex(std::string_view pattern, std::string_view key);
  ~PythonRegex();
  PythonRegex(PythonRegex&&) noexcept;
  PythonRegex& operator=(PythonRegex&&) noexcept;

  /// True when the whole of `text` (UTF-8) matches. Throws ConfigError (validation) when that takes more steps than a layer name
  /// can need: a pattern such as (a+)+b would run forever.
  bool matches(std::string_view text) const;

  /// Memory of the compiled pattern, which repeats such as ((ab){80}){60} make far longer than its text.
  std::size_t compiled_bytes() const noexcept;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
  std::string key_;
};

/// Rewrites a pattern of Python's `re` in PCRE2's syntax, with the same meaning. Throws ConfigError as PythonRegex does.
std::string python_regex_to_pcre2(std::string_view pattern, std::string_view key);

}  // namespace torchao_cpp
