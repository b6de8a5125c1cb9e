// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/float_product/code_rows.h"

namespace torchao_cpp {

/// Each in a file compiled for its instruction set. May be called only on a machine that has it.
const FloatProduct& float_product_amx_functions() noexcept;
const FloatProduct& float_product_avx512_bf16_functions() noexcept;
const FloatProduct& float_product_avx512_functions() noexcept;
const FloatProduct& float_product_avx2_functions() noexcept;
const FloatProduct& float_product_neon_functions() noexcept;

}  // namespace torchao_cpp
