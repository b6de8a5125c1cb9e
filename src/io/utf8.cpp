// SPDX-License-Identifier: Apache-2.0
#include "io/utf8.h"

#include <cstddef>
#include <cstdint>

namespace torchao_cpp {
namespace {

// Bytes that follow a first byte; -1 for a byte that begins nothing.
int continuation_bytes(unsigned char first) noexcept {
  if (first < 0x80) return 0;
  if (first >= 0xC2 && first <= 0xDF) return 1;
  if (first >= 0xE0 && first <= 0xEF) return 2;
  return first >= 0xF0 && first <= 0xF4 ? 3 : -1;
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at++]);
    const int more = continuation_bytes(first);
    if (more < 0 || text.size() - at < static_cast<std::size_t>(more)) return false;
    std::uint32_t point = more == 0 ? first : first & (0x3Fu >> more);
    for (int i = 0; i < more; ++i) {
      const auto byte = static_cast<unsigned char>(text[at++]);
      if ((byte & 0xC0) != 0x80) return false;
      point = point << 6 | (byte & 0x3Fu);
    }
    const bool is_overlong = (more == 2 && point < 0x800) || (more == 3 && point < 0x10000);
    if (is_overlong || (point >= 0xD800 && point <= 0xDFFF) || point > 0x10FFFF) return false;
  }
  return true;
}

}  // namespace torchao_cpp
