// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "config/config_type.h"

namespace torchao_cpp {

/// Every family of configs and weight classes of the library; the one place that names them.
std::span<const Workflow* const> workflow_list() noexcept;

}  // namespace torchao_cpp
