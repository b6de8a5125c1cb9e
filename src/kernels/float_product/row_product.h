// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/float_product/float_linear.h"

namespace torchao_cpp {

/// The float product in plain code: each output is one dot product in float32, in 16 interleaved
/// sums over K that are added at the end. A result depends neither on M nor on the number of
/// threads. Weights are read row by row and never stored.
void row_product(const FloatLinear& linear, const LinearArgs& args,
                 const FloatOperand& operand) noexcept;

}  // namespace torchao_cpp
