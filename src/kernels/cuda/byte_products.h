// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/products.h"

/// Products of codes of one byte on both sides, int8 or float8_e4m3fn, by matrix units, which make
/// y of their sums. `processors`: the GPU's. They begin to read the weight before kernels that were
/// queued before are done. Asynchronous on a stream (a cudaStream_t).
namespace torchao_cpp::cuda {

/// Rows of x that launch_byte_product() takes.
inline constexpr std::int64_t kByteProductRows = 16;
/// Whether the GPU has what it needs: compute capability 8.0, or 8.9 for float8, and shared memory
/// for its stages, which GPUs of 8.6, 8.9 and 12.0 have less of.
bool byte_product_supports(DType codes, int device) noexcept;
/// As fast as the weight can be read; float8 is summed in float32.
void launch_byte_product(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                         const EpilogueArgs& args, int processors, void* stream) noexcept;

/// Whether launch_byte_gemm() makes y of such sums on a GPU of this compute capability.
bool byte_gemm_supports(const Epilogue& epilogue, std::int64_t outputs, int capability) noexcept;
/// For many rows; float8 is summed with as few bits as cuBLASLt's fast accumulation has. False
/// where it cannot be launched: nothing was started then.
bool launch_byte_gemm(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                      const EpilogueArgs& args, int processors, void* stream) noexcept;

}  // namespace torchao_cpp::cuda
