// SPDX-License-Identifier: Apache-2.0
#include <variant>

#include "core/affine.h"
#include "core/float_formats.h"
#include "kernels/cuda/activation.h"
#include "kernels/scaled_activation.h"

namespace torchao_cpp::cuda {
namespace {

using Kind = ActivationQuant::Kind;

ElementFormat element_format(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat8E5M2:
      return {2, -14, 15, max_finite(dtype)};
    case DType::kFloat6E2M3:
      return {3, 0, 2, max_finite(dtype)};
    case DType::kFloat6E3M2:
      return {2, -2, 4, max_finite(dtype)};
    case DType::kFloat4E2M1FNx2:
      return {1, 0, 2, max_finite(dtype)};
    default:
      return {3, -6, 8, max_finite(dtype)};
  }
}

float first_value(const Tensor& t) noexcept { return load_float(t.dtype(), t.bytes(), 0); }

void plan_int8(const ActivationQuant& quant, DType compute, ActivationPlan& plan) {
  plan.mapping = quant.mapping_type;
  if (quant.kind == Kind::kInt8AsymPerToken) {
    plan.mapping = MappingType::kAsymmetric;
    plan.eps = compute == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
    return;
  }
  plan.form = OperandForm::kInt8;
  plan.has_row_scale = true;
  plan.eps = round_to(compute, 0x1p-23f);
  if (quant.reduce_range) {
    plan.code_min = -64;
    plan.code_max = 63;
  }
  if (plan.is_static && quant.zero_point.defined())
    plan.static_zero_point = *quant.zero_point.data<std::int8_t>();
}

void plan_float8(const ActivationQuant& quant, DType compute, ActivationPlan& plan) {
  const DType scale_dtype = quant.scale_dtype.value_or(compute);
  plan.scale_dtype = rounding_to(scale_dtype);
  plan.has_row_scale = !plan.scales_values;
  if (const auto* block = std::get_if<PerBlock>(&quant.granularity))
    plan.block_columns = plan.is_static ? plan.columns : block->block_size.back();
  plan.has_lower_bound = quant.value_lb.has_value();
  plan.has_upper_bound = quant.value_ub.has_value();
  if (quant.value_lb) plan.lower_bound = round_to(scale_dtype, static_cast<float>(*quant.value_lb));
  if (quant.value_ub) plan.upper_bound = round_to(scale_dtype, static_cast<float>(*quant.value_ub));
}

void plan_nvfp4(const QuantizedWeight& w, ActivationPlan& plan) {
  plan.is_per_tensor = w.activation.use_dynamic_per_tensor_scale;
  plan.is_static = !plan.is_per_tensor && w.activation.scale.defined();
  if (plan.is_static) plan.static_scale = first_value(w.activation.scale);
  plan.has_row_scale = w.bias_rounding == BiasRounding::kSeparate;
  if (w.per_tensor_scale.defined()) plan.weight_tensor_scale = *w.per_tensor_scale.data<float>();
}

}  // namespace

std::int64_t ActivationPlan::operand_bytes(std::int64_t m) const noexcept {
  const std::int64_t element = form == OperandForm::kValues ? dtype_size_bytes(operand_dtype) : 1;
  return m * stride() * element;
}

ActivationPlan make_activation_plan(const LinearProblem& problem, bool scales_values) {
  const DType compute = linear_compute_dtype(problem);
  ActivationPlan plan;
  plan.columns = problem.input_size();
  plan.block_columns = plan.columns;
  plan.x_dtype = rounding_to(problem.activation_dtype);
  plan.compute = rounding_to(compute);
  plan.operand_dtype = scales_values ? DType::kFloat32 : compute;
  plan.scales_values = scales_values;
  if (problem.quantized == nullptr) return plan;
  const QuantizedWeight& w = *problem.quantized;
  const ActivationQuant& quant = w.activation;
  plan.kind = quant.kind;
  if (w.act_pre_scale.defined()) {
    plan.pre_scale_dtype = rounding_to(w.act_pre_scale.dtype());
    plan.pre_scaled_dtype =
        rounding_to(promote_float(problem.activation_dtype, w.act_pre_scale.dtype()));
  }
  plan.element_dtype = quant.dtype;
  plan.element = element_format(quant.dtype);
  plan.scaling_mode = quant.scaling_mode;
  plan.is_static = quant.kind == Kind::kInt8Static || quant.kind == Kind::kFloat8Static;
  plan.is_per_tensor = !plan.is_static && std::holds_alternative<PerTensor>(quant.granularity);
  if (plan.is_static) plan.static_scale = first_value(quant.scale);
  switch (quant.kind) {
    case Kind::kNone:
      plan.is_per_tensor = false;
      break;
    case Kind::kInt8AsymPerToken:
      plan.is_per_tensor = false;
      plan_int8(quant, compute, plan);
      break;
    case Kind::kInt8Dynamic:
    case Kind::kInt8Static:
      plan_int8(quant, compute, plan);
      break;
    case Kind::kFloat8Dynamic:
    case Kind::kFloat8Static:
      plan_float8(quant, compute, plan);
      break;
    case Kind::kMXDynamic:
      plan.is_per_tensor = false;
      plan.block_columns = quant.block_size;
      break;
    case Kind::kNVFP4Dynamic:
      plan.block_columns = 16;
      plan_nvfp4(w, plan);
      break;
  }
  return plan;
}

}  // namespace torchao_cpp::cuda
