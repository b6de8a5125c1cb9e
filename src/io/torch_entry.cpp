// SPDX-License-Identifier: Apache-2.0
#include "io/torch_entry.h"

#include <fmt/format.h>

#include "io/quoted_name.h"

namespace torchao_cpp {

void TorchNotes::add(std::string_view fqn, std::string text) {
  Count& count = notes_[std::move(text)];
  if (count.weights++ == 0) count.first = fqn;
}

std::vector<std::string> TorchNotes::lines(std::string_view where) const {
  std::vector<std::string> out;
  for (const auto& [text, count] : notes_) {
    out.push_back(count.weights == 1
                      ? fmt::format("{}: weight {}: {}", where, quoted_name(count.first), text)
                      : fmt::format("{}: {} weights, the first {}: {}", where, count.weights,
                                    quoted_name(count.first), text));
  }
  return out;
}

}  // namespace torchao_cpp
