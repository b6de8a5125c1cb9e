// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "kernels/cuda/cuda_device.h"

/// Kernels that start while the one before them on the stream still runs (programmatic dependent
/// launch, compute capability 9.0): what they do before wait_for_previous() overlaps its end.
namespace torchao_cpp::cuda {

/// All that kernels before wrote is there from here on, and what they read may be written.
__device__ inline void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// The next kernel may start as soon as every block has come here.
__device__ inline void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Launches a kernel that calls wait_for_previous() before it reads or writes what other kernels
/// write or read.
template <typename... Parameters, typename... Arguments>
void launch_early(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                  cudaStream_t stream, Arguments&&... arguments) noexcept {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = cuda_starts_early() ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel,
                     static_cast<Parameters>(std::forward<Arguments>(arguments))...);
}

/// As launch_early(), for a kernel that has no use for much of the first-level cache and should run
/// beside others: a processor divides its memory into cache and shared memory in one way at a time,
/// and here all ask for the most shared memory.
template <typename... Parameters, typename... Arguments>
void launch_beside(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                   cudaStream_t stream, Arguments&&... arguments) noexcept {
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
  launch_early(kernel, grid, block, shared_bytes, stream, std::forward<Arguments>(arguments)...);
}

}  // namespace torchao_cpp::cuda
