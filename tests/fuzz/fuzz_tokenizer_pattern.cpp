// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "fuzz/fuzz_target.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/text.h"

// A pattern of a Split pre-tokenizer and, behind the first 0xff, the text it cuts.
// Holds: only Error, in bounded time whatever the pattern; the parts cover the text in order and
// without gaps.
namespace torchao_cpp::fuzz {
namespace {

void check_parts(const std::vector<PatternPart>& parts, std::size_t length) {
  std::size_t at = 0;
  for (const PatternPart& part : parts) {
    hold(part.begin == at && part.end >= part.begin, "parts with a gap or an overlap");
    at = part.end;
  }
  hold(at == length, "parts that do not cover the text");
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp;
  using namespace torchao_cpp::fuzz;
  const auto [pattern, subject] = split(as_text(data, size));
  // What the tokenizer cuts was repaired before.
  const std::string text = replace_broken_utf8(subject);
  accepts([&, pattern = pattern] {
    check_parts(Pattern::regex(pattern, "pattern").find_matches(text), text.size());
  });
  check_parts(Pattern::literal(std::string(pattern)).find_matches(text), text.size());
  return 0;
}
