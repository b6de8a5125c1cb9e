// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// What differs between two stored forms of one weight, a phrase for each difference: "attribute
/// 'act_quant_kwargs.reduce_range' added", "part 'zero_point' added". Order is not
/// compared.
std::vector<std::string> parts_changes(const TensorParts& before, const TensorParts& after);

}  // namespace torchao_cpp
