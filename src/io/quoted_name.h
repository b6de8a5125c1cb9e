// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace torchao_cpp {

/// `name` in single quotes for a message: control characters as \xNN, cut after 160 bytes. Names in files are data and
/// may hold anything.
std::string quoted_name(std::string_view name);

}  // namespace torchao_cpp
