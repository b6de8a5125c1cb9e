// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt); nothing but the function below leaves this file.
namespace torchao_cpp {
namespace {
constexpr int kLanes = 16;
}
}  // namespace torchao_cpp
// kLanes first.
#include "kernels/decoder_ops/attention_lanes.h"

namespace torchao_cpp {

const AttentionKernels& attention_kernels_avx512(DType dtype) noexcept {
  return attention_kernels_here(dtype);
}

}  // namespace torchao_cpp
