// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/int8_product/int8_linear.h"

namespace torchao_cpp {

/// The int8 product in plain code: one dot product in int32 for each output.
void int8_row_product(const Int8Linear& linear, const LinearArgs& args,
                      const Int8Operand& operand) noexcept;

}  // namespace torchao_cpp
