// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "fuzz/fuzz_target.h"
#include "selection/python_regex.h"

// The pattern of a "re:" key and, behind the first 0xff, a layer name.
// Holds: only Error, in bounded time whatever the pattern; the same answer each time.
namespace torchao_cpp::fuzz {
namespace {

void run(std::string_view pattern, std::string_view name) {
  const PythonRegex regex(pattern, "re:pattern");
  const bool matches = regex.matches(name);
  hold(regex.matches(name) == matches, "a second match gives another answer");
  accepts([&] { regex.matches("model.layers.0.self_attn.q_proj"); });
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  const auto [pattern, name] = split(as_text(data, size));
  accepts([&, pattern = pattern, name = name] { run(pattern, name); });
  return 0;
}
