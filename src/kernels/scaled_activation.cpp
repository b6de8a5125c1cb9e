// SPDX-License-Identifier: Apache-2.0
#include "kernels/scaled_activation.h"

#include "base/parallel.h"
#include "core/affine.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {

DType linear_compute_dtype(const LinearProblem& problem) noexcept {
  const DType activation = problem.activation_dtype;
  if (problem.quantized == nullptr) return activation;
  const QuantizedWeight& w = *problem.quantized;
  if (w.compute_dtype) return *w.compute_dtype;
  // Sums without their per-tensor scales pass float16's range; torchao has no float16 here.
  if (w.activation.kind == ActivationQuant::Kind::kNVFP4Dynamic && activation == DType::kFloat16)
    return DType::kFloat32;
  return w.act_pre_scale.defined() ? promote_float(activation, w.act_pre_scale.dtype())
                                   : activation;
}

bool scales_activation(DType activation_dtype, const Tensor& act_pre_scale,
                       DType compute_dtype) noexcept {
  return act_pre_scale.defined() || activation_dtype != compute_dtype;
}

ActivationView scale_activation(const ActivationView& x, const Tensor& act_pre_scale,
                                DType compute_dtype, void* buffer) noexcept {
  if (!scales_activation(x.dtype, act_pre_scale, compute_dtype)) return x;
  parallel_for(x.rows, row_grain(x.columns), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t m = begin; m < end; ++m) {
      for (std::int64_t k = 0; k < x.columns; ++k) {
        float v = load_float(x.dtype, x.data, m * x.stride + k);
        if (act_pre_scale.defined()) {
          v = round_to(promote_float(x.dtype, act_pre_scale.dtype()),
                       v * load_float(act_pre_scale.dtype(), act_pre_scale.bytes(), k));
        }
        store_float(compute_dtype, buffer, m * x.columns + k, v);
      }
    }
  });
  return {buffer, compute_dtype, x.rows, x.columns, x.columns};
}

}  // namespace torchao_cpp
