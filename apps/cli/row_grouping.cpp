// SPDX-License-Identifier: Apache-2.0
#include "row_grouping.h"

#include <algorithm>
#include <map>
#include <string_view>

namespace torchao_cpp::cli {
namespace {

/// A name cut around its first component that is a number.
struct LayerName {
  std::string before;
  std::string after;
  long number = -1;
};

LayerName cut(const std::string& fqn) {
  std::size_t start = 0;
  while (start < fqn.size()) {
    const std::size_t end = std::min(fqn.find('.', start), fqn.size());
    const std::string_view part = std::string_view(fqn).substr(start, end - start);
    const bool is_number =
        !part.empty() && part.size() < 8 &&
        std::all_of(part.begin(), part.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (is_number) return {fqn.substr(0, start), fqn.substr(end), std::stol(std::string(part))};
    start = end + 1;
  }
  return {fqn, "", -1};
}

/// "0-3,7" for sorted numbers.
std::string ranges(std::vector<long> numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::string out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    if (!out.empty()) out += ',';
    out += std::to_string(numbers[i]);
    if (last > i) out += '-' + std::to_string(numbers[last]);
    i = last + 1;
  }
  return out;
}

}  // namespace

std::vector<NamedRow> group_rows(const std::vector<NamedRow>& rows) {
  struct Group {
    LayerName name;
    std::vector<std::string> cells;
    std::vector<long> numbers;
  };
  std::vector<Group> groups;
  std::map<std::vector<std::string>, std::size_t> known;
  for (const NamedRow& row : rows) {
    LayerName name = cut(row.fqn);
    std::vector<std::string> key = row.cells;
    key.push_back(name.before);
    key.push_back(name.after);
    const auto [it, is_new] = known.emplace(std::move(key), groups.size());
    if (is_new) groups.push_back({name, row.cells, {}});
    groups[it->second].numbers.push_back(name.number);
  }
  std::vector<NamedRow> out;
  for (const Group& group : groups) {
    const std::string number = group.name.number < 0 ? "" : ranges(group.numbers);
    out.push_back(
        {group.name.before + number + group.name.after, group.cells, group.numbers.size()});
  }
  return out;
}

}  // namespace torchao_cpp::cli
