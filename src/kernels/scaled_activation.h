// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/activation_quant.h"
#include "kernels/linear_kernel.h"
#include "kernels/workspace.h"

/// What happens to an activation before it is quantized: act_pre_scale and the cast to the dtype
/// the linear computes in.
namespace torchao_cpp {

/// The dtype that a linear computes in: QuantizedWeight::compute_dtype, else that of the
/// activation, promoted by act_pre_scale; float32 for float16 activations of NVFP4.
DType linear_compute_dtype(const LinearProblem& problem) noexcept;

/// x as the linear sees it, [M, K] in `compute_dtype`: times act_pre_scale (rounded once). The same
/// memory when nothing changes, else `buffer` [M, K] of compute_dtype.
ActivationView scale_activation(const ActivationView& x, const Tensor& act_pre_scale,
                                DType compute_dtype, void* buffer) noexcept;

/// True when scale_activation needs its buffer.
bool scales_activation(DType activation_dtype, const Tensor& act_pre_scale,
                       DType compute_dtype) noexcept;

}  // namespace torchao_cpp
