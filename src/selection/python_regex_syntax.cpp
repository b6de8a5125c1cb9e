// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <cstdint>

#include "selection/python_regex.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_octal(char c) { return c >= '0' && c <= '7'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool contains(std::string_view set, char c) { return set.find(c) != std::string_view::npos; }

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
      out_ += take();
      return;
    }
    const std::string_view text = rest().substr(2);
    for (const std::string_view known : {":", "=", "!", ">", "<=", "<!", "P<", "P=", "("}) {
      if (text.starts_with(known)) {
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

  // (?ims) at the start of the pattern, or (?i-s: anywhere.
  void flags(std::size_t start) {
    at_ += 2;
    std::string kept;
    while (contains("aiLmsux-", peek()) && peek() != '\0') {
      const char flag = take();
      if (flag == 'a' || flag == 'L') refuse(at_ - 1, fmt::format("the flag '{}' is not supported", flag));
      if (flag != 'u') kept += flag;  // str patterns are Unicode in any case
    }
    const char end = peek();
    if (end != ')' && end != ':') refuse(start, "unknown extension");
    ++at_;
    if (end == ')' && start != 0) refuse(start, "global flags not at the start of the expression");
    if (end == ')' && contains(kept, 'x')) verbose_ = true;
    if (end == ')' && kept.empty()) return;
    out_ += fmt::format("(?{}{}", kept, end);
  }

  std::string_view pattern_;
  std::string_view key_;
  std::size_t at_ = 0;
  bool verbose_ = false;
  std::string out_;
};

}  // namespace

std::string python_regex_to_pcre2(std::string_view pattern, std::string_view key) { return Translator(pattern, key).run(); }

}  // namespace torchao_cpp
