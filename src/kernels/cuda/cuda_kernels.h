// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// Any operation on any GPU from compute capability 7.5 on: float products.
LinearKernel float_product_cuda(LinearOperation operation);
/// The operations of Int8Linear.
LinearKernel int8_product_cuda(LinearOperation operation);

/// Weights of int1 to int8 or float8_e4m3fn codes, with groups of 32 columns or more or scales of
/// rows, on matrix units (compute capability 8.0 or newer; with many rows of x 9.0 does best).
LinearKernel tile_product_cuda_sm80(LinearOperation operation);

/// float8_e4m3fn codes of both sides, one scale a row or tensor (compute capability 8.9 or newer).
LinearKernel float8_product_cuda_sm89(LinearOperation operation);

/// For LinearKernel::runs_here.
Support cuda_runs_here();

}  // namespace torchao_cpp
