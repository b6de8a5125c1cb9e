// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "config/config_type.h"

namespace torchao_cpp {

/// Every family of configs and weight classes of the library; the one place that names them.
std::span<const Workflow* const> workflow_list() noexcept;

/// The weight class of that name among them; null when there is none.
const WeightTensorType* find_weight_tensor_type(std::string_view class_name) noexcept;

}  // namespace torchao_cpp
