// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 (see CMakeLists.txt); nothing but the functions below leaves this file.
namespace torchao_cpp {
namespace {
constexpr int kLanes = 16;
}
}  // namespace torchao_cpp
// kLanes first.
#include "kernels/decoder_ops/row_kernels_lanes.h"

namespace torchao_cpp {

const RowKernels& row_kernels_avx512(DType dtype) noexcept { return row_kernels_here(dtype); }
const LogitKernels& logit_kernels_avx512() noexcept { return kLogitKernels; }

}  // namespace torchao_cpp
