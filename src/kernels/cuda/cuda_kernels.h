// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Any operation on any GPU from compute capability 7.5 on: float products.
LinearKernel float_product_cuda(LinearOperation operation);
/// The operations of Int8Linear.
LinearKernel int8_product_cuda(LinearOperation operation);

}  // namespace torchao_cpp
