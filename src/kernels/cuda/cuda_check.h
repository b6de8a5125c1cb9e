// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

/// Errors of the CUDA runtime as exceptions; for files compiled with CUDA only.
namespace torchao_cpp {

/// Throws DeviceError "`what`: the runtime's words" for an error, and takes it off the runtime's
/// record.
void cuda_check(cudaError_t error, const char* what);

}  // namespace torchao_cpp
