// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

/// What the library says while it works, for a person who looks for a reason: nothing, unless the
/// environment variable TORCHAO_CPP_LOG asks for it (error, info, debug), and then on standard
/// error. Errors are exceptions, never log lines.
namespace torchao_cpp {

/// Whether debug lines are wanted: ask before making one that costs something.
bool logs_debug() noexcept;

/// Decisions of a load: which config, which kernel.
void log_info(std::string_view message) noexcept;
/// Why not another.
void log_debug(std::string_view message) noexcept;

}  // namespace torchao_cpp
