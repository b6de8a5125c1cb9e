// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace torchao_cpp {

/// At most three of `names` that a person may have meant by `name`: nearest by edit distance, none that differs in
/// more than a third of its characters.
std::vector<std::string> near_matches(std::string_view name, std::span<const std::string> names);

}  // namespace torchao_cpp
