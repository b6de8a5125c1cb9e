// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp::conformance {

/// What the rule "dot" measures with: y = x Wᵀ + b.
struct DotOperands {
  Tensor x;        ///< [M, K]
  Tensor dequant;  ///< [N, K]
  Tensor bias;     ///< [N]; undefined when y has none.
};

/// Compares `got` with `want` by one `expect` rule of a golden manifest (kinds exact, rel, codes,
/// hqq_zero, dot, info). Returns the first difference with its index, or nothing. dtype and shape
/// must agree under every rule. NaN equals NaN whatever its sign and payload; otherwise exact means
/// the same bits.
std::optional<std::string> compare_by_rule(const Tensor& got, const Tensor& want, const Json& rule,
                                           const DotOperands& operands = {});

}  // namespace torchao_cpp::conformance
