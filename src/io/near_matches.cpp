// SPDX-License-Identifier: Apache-2.0
#include "io/near_matches.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace torchao_cpp {
namespace {

// Levenshtein distance, one row at a time.
std::size_t edit_distance(std::string_view a, std::string_view b, std::vector<std::size_t>& row) {
  row.resize(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = std::min({above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::vector<std::string> near_matches(std::string_view name, std::span<const std::string> names) {
  constexpr std::size_t kMost = 3;
  constexpr std::size_t kLongest = 512;  // names in hostile files have any length; the cost is their product
  const std::size_t limit = name.size() / 3;
  std::vector<std::pair<std::size_t, const std::string*>> found;
  std::vector<std::size_t> row;
  for (const std::string& candidate : names) {
    const std::size_t longer = std::max(name.size(), candidate.size());
    if (longer - std::min(name.size(), candidate.size()) > limit || longer > kLongest) continue;
    const std::size_t distance = edit_distance(name, candidate, row);
    if (distance <= limit) found.emplace_back(distance, &candidate);
  }
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> out;
  for (std::size_t i = 0; i < std::min(kMost, found.size()); ++i) out.push_back(*found[i].second);
  return out;
}

}  // namespace torchao_cpp
