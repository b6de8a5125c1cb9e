// SPDX-License-Identifier: Apache-2.0
#include "table.h"

#include <algorithm>

#include "console.h"

namespace torchao_cpp::cli {
namespace {

// Characters, not bytes: titles and notes may hold UTF-8.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const Row& row : rows_) {
    for (std::size_t c = 0; c < columns_.size(); ++c)
      widths[c] = std::max(widths[c], width_of(row[c]));
  }
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    if (widths[c] > 0) widths[c] = std::max(widths[c], width_of(columns_[c].title));
  }
  std::string out;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (widths[c] == 0) continue;
      const std::string cell = printable(cell_of(c));
      const std::string padding(widths[c] - width_of(cell), ' ');
      line += columns_[c].is_number ? padding + cell : cell + padding;
      line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  };
  add_line([&](std::size_t c) { return columns_[c].title; });
  add_line([&](std::size_t c) { return std::string(widths[c], '-'); });
  for (const Row& row : rows_) add_line([&](std::size_t c) { return row[c]; });
  return out;
}

}  // namespace torchao_cpp::cli
