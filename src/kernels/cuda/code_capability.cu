// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/code_capability.h"
#include "kernels/cuda/cuda_device.h"

namespace torchao_cpp {
namespace {

__global__ void nothing() {}

}  // namespace

int cuda_code_capability(int index) noexcept {
  const CudaDeviceGuard guard(index);
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, nothing) == cudaSuccess) return attributes.ptxVersion;
  cudaGetLastError();
  return 0;
}

}  // namespace torchao_cpp
