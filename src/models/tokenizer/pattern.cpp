// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "models/tokenizer/text.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// PCRE2's own \s counts U+180E, which is no white space since Unicode 6.3.
constexpr std::string_view kWhiteSpace =
    "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";

// PCRE2's own \w leaves marks out and takes every kind of number; Oniguruma takes those of Latin-1.
constexpr std::string_view kWord =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}\\x{24b6}-\\x{24e9}\\x{"
    "1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}";

struct FreeCode {
  void operator()(pcre2_code* p) const noexcept { pcre2_code_free(p); }
};
struct FreeMatchData {
  void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
};

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

/// Rewrites an Oniguruma expression, one construct at a time.
class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape();
      } else if (in_class_) {
        inside_class(c);
      } else if (c == '[') {
        open_class();
      } else if (c == '(') {
        group();
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    throw UnsupportedError(fmt::format("{}: the pattern '{}' uses {}, which is not supported",
                                       where_, pattern_, what));
  }

  void copy(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void escape() {
    const char c = at_ + 1 < pattern_.size() ? pattern_[at_ + 1] : '\0';
    if (c == 'h' || c == 'H') refuse("\\h (a hexadecimal digit in Oniguruma)");
    const bool is_positive = c == 's' || c == 'w';
    if (is_positive || ((c == 'S' || c == 'W') && !in_class_)) {
      out_ += in_class_ ? "" : is_positive ? "[" : "[^";
      out_ += c == 's' || c == 'S' ? kWhiteSpace : kWord;
      out_ += in_class_ ? "" : "]";
      at_ += 2;
    } else if (c == 'u' && at_ + 6 <= pattern_.size()) {
      out_ += fmt::format("\\x{{{}}}", pattern_.substr(at_ + 2, 4));
      at_ += 6;
    } else {
      copy(2);
    }
  }

  void open_class() {
    in_class_ = true;
    copy(1);
    if (at_ < pattern_.size() && pattern_[at_] == '^') copy(1);
  }

  void inside_class(char c) {
    const std::string_view rest = pattern_.substr(at_);
    if (rest.starts_with("&&")) refuse("an intersection of character classes");
    if (rest.starts_with("[:")) {
      const std::size_t end = rest.find(":]");
      if (end == std::string_view::npos) refuse("a nested character class");
      copy(end + 2);
      return;
    }
    if (c == '[') refuse("a nested character class");
    in_class_ = c != ']';
    copy(1);
  }

  // Ruby's (?m) lets a dot match a line break; PCRE2 calls that (?s).
  void group() {
    copy(1);
    if (at_ >= pattern_.size() || pattern_[at_] != '?') return;
    const std::size_t end = pattern_.find_first_not_of("imx-", at_ + 1);
    if (end == std::string_view::npos || (pattern_[end] != ':' && pattern_[end] != ')')) return;
    std::string flags(pattern_.substr(at_, end - at_));
    std::replace(flags.begin(), flags.end(), 'm', 's');
    out_ += flags;
    at_ = end;
  }

  std::string_view pattern_;
  std::string_view where_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  std::string out_;
};

}  // namespace

struct Pattern::Compiled {
  std::unique_ptr<pcre2_code, FreeCode> code;
};

namespace {

// Steps of one match that cost nothing of the text's budget; an honest match takes some dozens.
constexpr std::uint64_t kFreeSteps = 10'000;

/// One search over one text.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        // Enough for a linear pattern over the whole text, far from what an exploding one takes.
        budget_(std::min<std::uint64_t>(10'000'000 + 16 * static_cast<std::uint64_t>(text.size()),
                                        UINT32_MAX)) {
    if (!data_ || !context_) throw std::bad_alloc();
    pcre2_set_heap_limit(context_.get(), 256 * 1024);  // KiB
  }

  /// The next match from `start` on.
  std::optional<PatternPart> next(std::size_t start) {
    const int rc = match_within_budget(start);
    if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (rc < 0)
      throw Error(fmt::format("tokenizer: splitting the text stopped at byte {}: {}", start,
                              pcre2_message(rc)),
                  "tokenizer");
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(data_.get());
    // \K may put the start behind the end.
    return PatternPart{
        std::clamp<std::size_t>(offsets[0], start, std::max<std::size_t>(start, offsets[1])),
        std::max<std::size_t>(start, offsets[1]), true};
  }

 private:
  // PCRE2 limits the steps of one match, but does not tell how many it took. So a match begins with
  // few and gets more only on account of the whole text: a pattern that almost explodes at every
  // character is stopped as well.
  int match_within_budget(std::size_t start) {
    for (std::uint64_t limit = kFreeSteps;; limit = std::min(8 * limit, budget_)) {
      pcre2_set_match_limit(context_.get(), static_cast<std::uint32_t>(limit));
      const int rc = match(start);
      if (rc != PCRE2_ERROR_MATCHLIMIT || limit >= budget_) return rc;
      budget_ -= limit;
    }
  }

  int match(std::size_t start) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data());
    const int rc = pcre2_match(code_, subject, text_.size(), start, PCRE2_NO_UTF_CHECK, data_.get(),
                               context_.get());
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
    return pcre2_match(code_, subject, text_.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       data_.get(), context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  std::unique_ptr<pcre2_match_data, FreeMatchData> data_;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context_;
  std::uint64_t budget_;
};

/// Collects matches and fills the gaps between them.
class Parts {
 public:
  explicit Parts(std::size_t length) : length_(length) {}
  void add_match(std::size_t begin, std::size_t end) {
    if (begin != covered_) parts_.push_back({covered_, begin, false});
    parts_.push_back({begin, end, true});
    covered_ = end;
  }
  std::vector<PatternPart> finish() {
    if (covered_ != length_) parts_.push_back({covered_, length_, false});
    return std::move(parts_);
  }

 private:
  std::size_t length_;
  std::size_t covered_ = 0;
  std::vector<PatternPart> parts_;
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).run();
}

Pattern Pattern::regex(std::string_view oniguruma, std::string_view where) {
  const std::string translated = pcre2_from_oniguruma(oniguruma, where);
  // In Oniguruma's Ruby syntax ^ and $ always match at lines.
  const std::uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  int code = 0;
  PCRE2_SIZE offset = 0;
  auto compiled = std::make_shared<Compiled>();
  compiled->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                     translated.size(), options, &code, &offset, nullptr));
  if (!compiled->code) {
    throw UnsupportedError(fmt::format("{}: the pattern '{}' cannot be used: {}", where, oniguruma,
                                       pcre2_message(code)));
  }
  pcre2_jit_compile(compiled->code.get(),
                    PCRE2_JIT_COMPLETE);  // where it is not available, the interpreter runs
  Pattern pattern;
  pattern.compiled_ = std::move(compiled);
  return pattern;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

std::vector<PatternPart> Pattern::find_matches(std::string_view text) const {
  Parts parts(text.size());
  if (!compiled_) {
    for (std::size_t at = 0;
         !literal_.empty() && (at = text.find(literal_, at)) != std::string_view::npos;
         at += literal_.size()) {
      parts.add_match(at, at + literal_.size());
    }
    return parts.finish();
  }
  Search search(compiled_->code.get(), text);
  std::optional<std::size_t> last_match_end;
  for (std::size_t at = 0; at <= text.size();) {
    const std::optional<PatternPart> match = search.next(at);
    if (!match) break;
    if (match->begin == match->end && last_match_end == match->end) {
      // An empty match right after a match does not count: go on one character later.
      at += at < text.size() ? code_point_at(text, at).length : 1;
      continue;
    }
    parts.add_match(match->begin, match->end);
    at = match->end;
    last_match_end = match->end;
  }
  return parts.finish();
}

}  // namespace torchao_cpp
