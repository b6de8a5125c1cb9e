// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/products.h"
#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

/// What becomes of an activation before the product, on the device: act_pre_scale, the cast to the
/// compute dtype, and its quantization, in the steps of core/activation_quant.h.
namespace torchao_cpp::cuda {

/// How values are rounded to a narrow float format.
struct ElementFormat {
  int mantissa_bits = 0;
  int min_exponent = 0;  ///< Of normal numbers.
  int max_exponent = 0;
  float max_value = 0;
};

/// Left operands that a product may ask for.
enum class OperandForm : std::uint8_t {
  kValues,  ///< float32, float16 or bfloat16 values
  kInt8,    ///< int8 codes
  kFloat8,  ///< float8 codes, one byte each
};

/// All of it but the memory of one call, by value.
struct ActivationPlan {
  ActivationQuant::Kind kind = ActivationQuant::Kind::kNone;
  OperandForm form = OperandForm::kValues;
  DType operand_dtype = DType::kBFloat16;  ///< kValues
  std::int64_t columns = 0;                ///< K
  ValueRounding x_dtype = ValueRounding::kNone;
  ValueRounding compute = ValueRounding::kNone;
  const void* pre_scale = nullptr;  ///< [K] on the device, or null.
  ValueRounding pre_scale_dtype = ValueRounding::kNone;
  ValueRounding pre_scaled_dtype = ValueRounding::kNone;  ///< Of the product with it.
  bool is_per_tensor = false;  ///< One scale for all rows, from all rows.
  bool is_static = false;
  float static_scale = 1.0f;
  int static_zero_point = 0;
  MappingType mapping = MappingType::kSymmetric;
  int code_min = -128;
  int code_max = 127;
  float eps = 0;
  ElementFormat element;
  DType element_dtype = DType::kFloat8E4M3FN;
  ValueRounding scale_dtype = ValueRounding::kNone;  ///< float8
  bool has_lower_bound = false;
  bool has_upper_bound = false;
  float lower_bound = 0;
  float upper_bound = 0;
  ScaleCalculationMode scaling_mode = ScaleCalculationMode::kRceil;
  std::int64_t block_columns = 0;    ///< float8: K or the block; MX and NVFP4: the block.
  bool scales_values = false;        ///< float8: the operand is code * scale in float32.
  bool has_row_scale = false;        ///< The product takes a scale a row.
  float weight_tensor_scale = 1.0f;  ///< NVFP4: part of the row's scale.

  /// Elements from one row of the operand to the next.
  constexpr std::int64_t stride() const noexcept { return (columns + 15) / 16 * 16; }
  std::int64_t operand_bytes(std::int64_t m) const noexcept;
};

/// Device memory of one call; what is not needed is null.
struct ActivationBuffers {
  void* operand = nullptr;            ///< [M, stride]
  float* row_scale = nullptr;         ///< [M]
  std::int8_t* zero_point = nullptr;  ///< [M]
  float* ends = nullptr;              ///< [2 M + 2]: of rows, for one scale of all
};

/// The plan for a weight; `scales_values` as in the plan. Its pre_scale is null: the caller uploads
/// it.
ActivationPlan make_activation_plan(const LinearProblem& problem, bool scales_values);

/// Fills the buffers from x [m, K].
void launch_activation(const ActivationPlan& plan, const void* x, std::int64_t m,
                       const ActivationBuffers& buffers, void* stream) noexcept;

}  // namespace torchao_cpp::cuda
