// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// What a value is rounded to on its way.
enum class ValueRounding : std::uint8_t { kNone, kBFloat16, kFloat16 };

/// To nothing for float32.
constexpr ValueRounding rounding_to(DType dtype) noexcept {
  if (dtype == DType::kBFloat16) return ValueRounding::kBFloat16;
  return dtype == DType::kFloat16 ? ValueRounding::kFloat16 : ValueRounding::kNone;
}

/// How the sums of a product become outputs, the same for every call: plain pointers only, for
/// functions that are compiled for one instruction set. In this order, where it applies:
///
///   v = sum                         int32 sums: minus x_offset times code_sums[n]
///   v = round(v)                    rounds_sum
///   v = v - (x_offset + z[m]) * value_sums[n]
///   v = v * row_scale[m]
///   v = round(v)                    rounds_scaled
///   v = round(v - round(z[m] * row_scale[m] * code_sums[n]))     has_code_zero
///   v = v * column_scale[n]
///   v = round(v)                    rounds_before_bias, with a bias
///   v = v + round(bias[n])
///   y = round(v), then to the dtype of y
struct Epilogue {
  ValueRounding compute = ValueRounding::kNone;  ///< What round() above does.
  ValueRounding output = ValueRounding::kNone;   ///< The dtype of bias and y; kNone is float32.
  bool has_int_sums = false;
  bool rounds_sum = false;
  bool rounds_scaled = false;
  bool has_code_zero = false;
  bool rounds_before_bias = false;
  std::int32_t x_offset = 0;
  const std::int32_t* code_sums = nullptr;  ///< [N]
  const float* value_sums = nullptr;        ///< [N]
  const float* column_scale = nullptr;      ///< [N]
};

/// Sums of x rows m0 .. m0 + rows and weight rows n0 .. n0 + columns.
struct SumBlock {
  const void* sums = nullptr;  ///< [rows, columns]
  std::int64_t m0 = 0, rows = 0;
  std::int64_t n0 = 0, columns = 0;
};

/// One call of a linear.
struct EpilogueArgs {
  const float* row_scale = nullptr;          ///< [M]; null = 1
  const std::int8_t* zero_point = nullptr;   ///< [M]: z; null = 0
  const void* bias = nullptr;                ///< [N] or null
  void* y = nullptr;                         ///< [M, N]
  std::int64_t y_stride = 0;                 ///< Elements.
};

using FinishSums = void (*)(const Epilogue& epilogue, const EpilogueArgs& args,
                            const SumBlock& block) noexcept;

}  // namespace torchao_cpp
