// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "torchao_cpp/llm.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// Sums over the elements of two tensors, all in double; those of several pairs of tensors add up.
struct DifferenceSums {
  std::int64_t numel = 0;
  std::int64_t finite = 0;  ///< Elements that are finite in both: what the sums are over.
  double max_abs_error = 0;
  double abs_error = 0;
  double signal = 0;  ///< sum a^2
  double noise = 0;   ///< sum (a - b)^2
  std::int64_t nonfinite_a = 0;
  std::int64_t nonfinite_b = 0;
  std::int64_t nonfinite_differing = 0;

  void add(const DifferenceSums& other) noexcept;
  DiffNumbers numbers() const noexcept;
};

/// True when elements of this dtype have a value as a double; complex64 and logical dtypes have
/// none.
bool is_comparable(DType dtype) noexcept;

/// Compares two tensors of one shape and of comparable dtypes. Sums are formed in blocks of fixed
/// size and added in order, so they do not depend on the number of threads.
DifferenceSums tensor_difference(const Tensor& a, const Tensor& b);

}  // namespace torchao_cpp
