// SPDX-License-Identifier: Apache-2.0
#include "kernels/linear_kernel.h"

#include <fmt/format.h>

namespace torchao_cpp {
namespace {

using Kind = ActivationQuant::Kind;
using Op = LinearOperation;

enum class WeightKind : std::uint8_t { kInt, kFloat8, kMX, kNVFP4, kNF4 };

std::optional<WeightKind> weight_kind(const QuantizedWeight& w) noexcept {
  if (w.codebook.defined()) return WeightKind::kNF4;
  if (signed_int_bits(w.weight_dtype)) return WeightKind::kInt;
  if (w.scale.dtype() == DType::kFloat8E8M0FNU) return WeightKind::kMX;
  if (w.weight_dtype == DType::kFloat4E2M1FNx2) return WeightKind::kNVFP4;
  if (w.weight_dtype == DType::kFloat8E4M3FN || w.weight_dtype == DType::kFloat8E5M2)
    return WeightKind::kFloat8;
  return std::nullopt;
}

// Nibbles and zero points that are added are Int4Tensor's and the tiles'; one code a byte is
// Intx's.
bool is_int4(const QuantizedWeight& w) noexcept {
  return w.weight_dtype == DType::kInt4 &&
         (w.codes_per_byte == 2 || w.zero_point_domain == ZeroPointDomain::kFloat);
}

std::optional<Op> int_operation(const QuantizedWeight& w) noexcept {
  switch (w.activation.kind) {
    case Kind::kNone:
      if (is_int4(w)) return Op::kInt4WeightOnly;
      return w.bias_rounding == BiasRounding::kSeparate ? Op::kInt8WeightOnly : Op::kIntxWeightOnly;
    case Kind::kInt8Dynamic:
      return Op::kInt8DynamicActivationInt8Weight;
    case Kind::kInt8Static:
      return Op::kInt8StaticActivationInt8Weight;
    case Kind::kInt8AsymPerToken:
      return Op::kInt8DynamicActivationIntxWeight;
    case Kind::kFloat8Dynamic:
      return is_int4(w) ? std::optional(Op::kFloat8DynamicActivationInt4Weight) : std::nullopt;
    default:
      return std::nullopt;
  }
}

std::optional<Op> float8_operation(Kind activation) noexcept {
  if (activation == Kind::kNone) return Op::kFloat8WeightOnly;
  if (activation == Kind::kFloat8Dynamic) return Op::kFloat8DynamicActivationFloat8Weight;
  if (activation == Kind::kFloat8Static) return Op::kFloat8StaticActivationFloat8Weight;
  return std::nullopt;
}

// A weight-only form and one with a dynamic activation.
std::optional<Op> one_of(Kind activation, Op weight_only, Kind dynamic_kind, Op dynamic) noexcept {
  if (activation == Kind::kNone) return weight_only;
  return activation == dynamic_kind ? std::optional(dynamic) : std::nullopt;
}

}  // namespace

std::string_view operation_name(LinearOperation operation) noexcept {
  switch (operation) {
    case Op::kUnquantized:
      return "unquantized_linear";
    case Op::kInt8WeightOnly:
      return "int8_weight_only_linear";
    case Op::kInt4WeightOnly:
      return "int4_weight_only_linear";
    case Op::kIntxWeightOnly:
      return "intx_weight_only_linear";
    case Op::kFloat8WeightOnly:
      return "float8_weight_only_linear";
    case Op::kMXWeightOnly:
      return "mx_weight_only_linear";
    case Op::kNVFP4WeightOnly:
      return "nvfp4_weight_only_linear";
    case Op::kNF4WeightOnly:
      return "nf4_weight_only_linear";
    case Op::kInt8DynamicActivationInt8Weight:
      return "int8_dynamic_activation_int8_weight_linear";
    case Op::kInt8StaticActivationInt8Weight:
      return "int8_static_activation_int8_weight_linear";
    case Op::kInt8DynamicActivationIntxWeight:
      return "int8_dynamic_activation_intx_weight_linear";
    case Op::kFloat8DynamicActivationFloat8Weight:
      return "float8_dynamic_activation_float8_weight_linear";
    case Op::kFloat8StaticActivationFloat8Weight:
      return "float8_static_activation_float8_weight_linear";
    case Op::kFloat8DynamicActivationInt4Weight:
      return "float8_dynamic_activation_int4_weight_linear";
    case Op::kMXDynamicActivationMXWeight:
      return "mx_dynamic_activation_mx_weight_linear";
    case Op::kNVFP4DynamicActivationNVFP4Weight:
      return "nvfp4_dynamic_activation_nvfp4_weight_linear";
  }
  return "";
}

std::optional<LinearOperation> operation_of(const LinearProblem& problem) noexcept {
  if (problem.quantized == nullptr) return Op::kUnquantized;
  const QuantizedWeight& w = *problem.quantized;
  const Kind activation = w.activation.kind;
  const std::optional<WeightKind> kind = weight_kind(w);
  if (!kind) return std::nullopt;
  switch (*kind) {
    case WeightKind::kInt:
      return int_operation(w);
    case WeightKind::kFloat8:
      return float8_operation(activation);
    case WeightKind::kMX:
      return one_of(activation, Op::kMXWeightOnly, Kind::kMXDynamic,
                    Op::kMXDynamicActivationMXWeight);
    case WeightKind::kNVFP4:
      return one_of(activation, Op::kNVFP4WeightOnly, Kind::kNVFP4Dynamic,
                    Op::kNVFP4DynamicActivationNVFP4Weight);
    case WeightKind::kNF4:
      return activation == Kind::kNone ? std::optional(Op::kNF4WeightOnly) : std::nullopt;
  }
  return std::nullopt;
}

std::string LinearKernel::name() const {
  return fmt::format("{}/{}", operation_name(operation), isa);
}

Support runs_on(CpuIsa isa) {
  std::string refusal = cpu_isa_refusal(isa);
  return refusal.empty() ? Support::yes() : Support::no(std::move(refusal));
}

Support library_runs_here() {
  std::string refusal = foreign_isa_refusal();
  return refusal.empty() ? Support::yes() : Support::no(std::move(refusal));
}

Support check_support(const LinearKernel& kernel, const LinearProblem& problem) {
  const std::optional<Op> asked = operation_of(problem);
  if (!asked || *asked != kernel.operation) {
    return Support::no(fmt::format("the weight asks for {}",
                                   asked ? operation_name(*asked) : "no operation known here"));
  }
  if (problem.device.type != kernel.device) return Support::no("is for another kind of device");
  if (!is_high_precision(problem.activation_dtype)) {
    return Support::no(fmt::format("the activation is {}; expected float32, float16 or bfloat16",
                                   dtype_name(problem.activation_dtype)));
  }
  if (problem.output_size() < 1 || problem.input_size() < 1)
    return Support::no("the weight is empty");
  const Support machine = kernel.runs_here();
  return machine.ok ? kernel.supports(problem) : machine;
}

}  // namespace torchao_cpp
