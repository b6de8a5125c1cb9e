// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/linear_kernel.h"

/// oneDNN's matrix products on one thread: how work is cut over threads stays with the caller, so
/// that results do not depend on their number.
namespace torchao_cpp {

/// Matrices of one product: a [m, k] with row stride lda, b [n, k], c [m, n], both contiguous.
template <typename A, typename C>
struct GemmArgs {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  const A* a = nullptr;
  const A* b = nullptr;
  C* c = nullptr;
};

/// c = a bᵀ in float32.
void onednn_sgemm(const GemmArgs<float, float>& args) noexcept;

/// c = a bᵀ, exact in int32. Precondition: onednn_has_exact_int8().
void onednn_gemm_s8s8s32(const GemmArgs<std::int8_t, std::int32_t>& args) noexcept;

/// Whether this machine's int8 product never saturates in between (VNNI); older instruction sets
/// do.
Support onednn_has_exact_int8();

}  // namespace torchao_cpp
