// SPDX-License-Identifier: Apache-2.0
#include "selection/python_regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <new>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// A layer name has some hundred characters; an honest pattern needs a few thousand steps.
constexpr std::uint32_t kMatchLimit = 200'000;
constexpr std::uint32_t kHeapLimitKib = 8'192;

template <auto kFree>
struct Freed {
  template <typename T>
  void operator()(T* p) const noexcept {
    kFree(p);
  }
};
using CompileContext = std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>>;
using CompiledCode = std::unique_ptr<pcre2_code, Freed<pcre2_code_free>>;

template <typename P>
P not_null(P pointer) {
  if (!pointer) throw std::bad_alloc();
  return pointer;
}

PCRE2_SPTR units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct PythonRegex::Code {
  CompiledCode code;
  MatchContext limits;
};

PythonRegex::PythonRegex(std::string_view pattern, std::string_view key) : code_(std::make_unique<Code>()), key_(key) {
  const std::string translated = python_regex_to_pcre2(pattern, key);
  const CompileContext context = not_null(CompileContext(pcre2_compile_context_create(nullptr)));
  // Python's `.` and `$` know "\n" alone.
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  const std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C;
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_->code.reset(pcre2_compile(units(translated), translated.size(), options, &error, &offset, context.get()));
  if (code_->code == nullptr) {
    throw ConfigError(fmt::format("the key '{}' is no regular expression: {} at offset {}", key, error_text(error), offset),
                      "validation");
  }
  code_->limits = not_null(MatchContext(pcre2_match_context_create(nullptr)));
  pcre2_set_match_limit(code_->limits.get(), kMatchLimit);
  pcre2_set_heap_limit(code_->limits.get(), kHeapLimitKib);
}

PythonRegex::~PythonRegex() = default;
PythonRegex::PythonRegex(PythonRegex&&) noexcept = default;
PythonRegex& PythonRegex::operator=(PythonRegex&&) noexcept = default;

bool PythonRegex::matches(std::string_view text) const {
  const MatchData data = not_null(MatchData(pcre2_match_data_create_from_pattern(code_->code.get(), nullptr)));
  const int result = pcre2_match(code_->code.get(), units(text), text.size(), 0, 0, data.get(), code_->limits.get());
  if (result >= 0) return true;
  if (result == PCRE2_ERROR_NOMATCH) return false;
  throw ConfigError(fmt::format("the key '{}' cannot be matched against '{}': {}", key_, text, error_text(result)), "validation");
}

std::size_t PythonRegex::compiled_bytes() const noexcept {
  std::size_t size = 0;
  pcre2_pattern_info(code_->code.get(), PCRE2_INFO_SIZE, &size);
  return size;
}

}  // namespace torchao_cpp
