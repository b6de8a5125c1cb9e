// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <vector>

#include "selection/python_regex.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_octal(char c) { return c >= '0' && c <= '7'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool contains(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }
bool is_name(std::string_view text) {
  const auto in_name = [](char c) { return is_letter(c) || is_digit(c) || c == '_' || static_cast<unsigned char>(c) >= 0x80; };
  return !text.empty() && !is_digit(text.front()) && std::all_of(text.begin(), text.end(), in_name);
}

// Goes over a pattern once and copies it with what PCRE2 spells or reads differently replaced. What only PCRE2 knows
// (\K, \R, (?R), (*VERB), [[:alpha:]] as a class, ...) is refused or quoted as Python reads it.
class Translator {
 public:
  Translator(std::string_view pattern, std::string_view key) : pattern_(pattern), key_(key) {}

  std::string run() {
    while (!at_end()) {
      const char c = peek();
      if (c == '\\') {
        escape(/*in_class=*/false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == ')') {
        close_group();
      } else if (c == '{') {
        repeat();
      } else if (c == '#' && verbose_) {
        comment();
      } else {
        out_ += take();
      }
    }
    return std::move(out_);
  }

 private:
  bool at_end() const { return at_ >= pattern_.size(); }
  char peek(std::size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  char take() { return pattern_[at_++]; }
  std::string_view rest() const { return pattern_.substr(at_); }

  [[noreturn]] void refuse(std::size_t offset, std::string_view message) const {
    throw ConfigError(fmt::format("the key '{}' is no regular expression of Python's re: {} at offset {}", key_, message, offset),
                      "validation");
  }

  void code_point(std::uint32_t value) { out_ += fmt::format("\\x{{{:x}}}", value); }

  // Exactly `digits` hexadecimal digits.
  void hexadecimal(std::size_t digits, std::size_t start) {
    std::uint32_t value = 0;
    const std::string_view text = rest().substr(0, digits);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (text.size() != digits || error != std::errc{} || end != text.data() + text.size()) refuse(start, "incomplete escape");
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) refuse(start, "escape of no character");
    at_ += digits;
    code_point(value);
  }

  // \0, \07, \123 are octal; \1 to \99 refer to groups.
  void number(bool in_class, std::size_t start) {
    const bool three_octal = is_octal(peek()) && is_octal(peek(1)) && is_octal(peek(2));
    if (peek() == '0' || three_octal || in_class) {
      std::uint32_t value = 0;
      int digits = 0;
      while (digits < 3 && is_octal(peek())) {
        value = value * 8 + static_cast<std::uint32_t>(take() - '0');
        ++digits;
      }
      if (digits == 0) refuse(start, "bad escape");
      if (value > 0377) refuse(start, "octal escape outside of range 0-0o377");
      code_point(value);
      return;
    }
    std::string digits(1, take());
    if (is_digit(peek())) digits += take();
    out_ += fmt::format("\\g{{{}}}", digits);
  }

  void escape(bool in_class) {
    const std::size_t start = at_;
    ++at_;
    if (at_end()) refuse(start, "bad escape (end of pattern)");
    if (is_digit(peek())) return number(in_class, start);
    const char c = take();
    if (c == 'x') return hexadecimal(2, start);
    if (c == 'u') return hexadecimal(4, start);
    if (c == 'U') return hexadecimal(8, start);
    if (c == 'v') return code_point(0x0B);
    if (c == 'Z' && !in_class) {
      out_ += "\\z";
    } else if (c == 'N') {
      refuse(start, "\\N{NAME} is not supported");
    } else if (is_letter(c) && !contains(in_class ? "abdDfnrsStwW" : "abABdDfnrsStwW", c)) {
      refuse(start, fmt::format("bad escape \\{}", c));
    } else {
      out_ += '\\';
      out_ += c;
    }
  }

  void character_class() {
    const std::size_t start = at_;
    out_ += take();
    if (peek() == '^') out_ += take();
    if (peek() == ']') {
      out_ += "\\]";
      ++at_;
    }
    while (peek() != ']') {
      if (at_end()) refuse(start, "unterminated character set");
      if (peek() == '\\') {
        escape(/*in_class=*/true);
      } else if (peek() == '[') {
        out_ += "\\[";  // PCRE2 would read [:alpha:]
        ++at_;
      } else {
        out_ += take();
      }
    }
    out_ += take();
  }

  // {m}, {m,}, {,n}, {m,n} repeat; any other brace is itself.
  void repeat() {
    std::size_t end = 1;
    std::string low, high;
    while (is_digit(peek(end))) low += peek(end++);
    const bool comma = peek(end) == ',';
    if (comma) ++end;
    while (comma && is_digit(peek(end))) high += peek(end++);
    if (peek(end) != '}' || (low.empty() && !comma)) {
      out_ += "\\{";
      ++at_;
      return;
    }
    out_ += fmt::format("{{{}{}{}}}", low.empty() ? "0" : low, comma ? "," : "", high);
    at_ += end + 1;
  }

  void comment() {
    while (!at_end() && peek() != '\n') ++at_;
  }

  void group() {
    const std::size_t start = at_;
    if (peek(1) == '*') refuse(start + 1, "nothing to repeat");
    if (peek(1) != '?') {
      open_group();
      out_ += take();
      return;
    }
    const std::string_view text = rest().substr(2);
    if (text.starts_with("(")) return condition();
    for (const std::string_view known : {":", "=", "!", ">", "<=", "<!", "P<", "P="}) {
      if (text.starts_with(known)) {
        open_group();
        out_.append("(?").append(known);
        at_ += 2 + known.size();
        return;
      }
    }
    if (text.starts_with("#")) {
      const std::size_t close = text.find(')');
      if (close == std::string_view::npos) refuse(start, "missing ), unterminated comment");
      at_ += 2 + close + 1;
      return;
    }
    flags(start);
  }

  // The flag x ends with the group that set it.
  void open_group() { outer_verbose_.push_back(verbose_); }
  void close_group() {
    out_ += take();
    if (outer_verbose_.empty()) return;  // PCRE2 refuses it
    verbose_ = outer_verbose_.back();
    outer_verbose_.pop_back();
  }

  // (?(1)yes|no), (?(name)yes|no). PCRE2 would also read (?(R), (?(DEFINE), (?(VERSION>=1) and assertions.
  void condition() {
    const std::size_t start = at_ + 3;
    const std::string_view text = pattern_.substr(start);
    const std::size_t close = text.find(')');
    if (close == std::string_view::npos) refuse(start, "missing ), unterminated name");
    const std::string_view name = text.substr(0, close);
    const bool is_number = !name.empty() && std::all_of(name.begin(), name.end(), is_digit);
    if (!is_number && !is_name(name)) refuse(start, fmt::format("bad character in group name '{}'", name));
    open_group();
    out_ += is_number ? fmt::format("(?({})", name) : fmt::format("(?(<{}>)", name);
    at_ = start + close + 1;
  }

  // (?ims) at the start of the pattern, or (?i-s: anywhere.
  void flags(std::size_t start) {
    at_ += 2;
    std::string on, off;
    bool minus = false;
    while (contains("aiLmsux-", peek()) && peek() != '\0') {
      const char flag = take();
      if (flag == 'a' || flag == 'L') refuse(at_ - 1, fmt::format("the flag '{}' is not supported", flag));
      if (flag == '-' && minus) refuse(at_ - 1, "unknown flag");
      if (flag == '-') minus = true;
      if (flag != '-' && flag != 'u') (minus ? off : on) += flag;  // str patterns are Unicode in any case
    }
    const char end = peek();
    if (end != ')' && end != ':') refuse(start, "unknown extension");
    if (minus && end == ')') refuse(at_, "missing :");
    if (minus && off.empty()) refuse(at_, "missing flag");
    if (on.find_first_of(off) != std::string::npos) refuse(at_, "bad inline flags: flag turned on and off");
    ++at_;
    if (end == ')' && out_.size() != end_of_flags_) refuse(start, "global flags not at the start of the expression");
    if (end == ':') open_group();
    verbose_ = (verbose_ || contains(on, 'x')) && !contains(off, 'x');
    if (end == ':' || !on.empty()) out_ += fmt::format("(?{}{}{}{}", on, minus ? "-" : "", off, end);
    if (end == ')') end_of_flags_ = out_.size();
  }

  std::string_view pattern_;
  std::string_view key_;
  std::size_t at_ = 0;
  bool verbose_ = false;
  std::vector<bool> outer_verbose_;  ///< verbose_ outside of each open group.
  std::size_t end_of_flags_ = 0;     ///< Size of out_ while it holds nothing but global flags.
  std::string out_;
};

}  // namespace

std::string python_regex_to_pcre2(std::string_view pattern, std::string_view key) { return Translator(pattern, key).run(); }

}  // namespace torchao_cpp
