// SPDX-License-Identifier: Apache-2.0
#include "io/quoted_name.h"

#include <fmt/format.h>

#include <iterator>

namespace torchao_cpp {

std::string quoted_name(std::string_view name) {
  constexpr std::size_t kLongest = 160;  // longer than any real parameter name, short enough for one line
  std::string out = "'";
  std::size_t length = name.size();
  if (length > kLongest) {
    length = kLongest;
    // Not inside a UTF-8 sequence.
    while (length > 0 && (static_cast<unsigned char>(name[length]) & 0xC0) == 0x80) --length;
  }
  for (const char c : name.substr(0, length)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  if (length < name.size()) out += "...";
  out += '\'';
  return out;
}

}  // namespace torchao_cpp
