// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp::ops {

/// How far two correct float linears y = x Wᵀ + b may be apart that sum in another order.
///
/// A float32 sum of K products is within K u / (1 - K u) of the exact one, times sum |x||w|, for
/// every order of summation (u = 2^-24). So two are within twice that. Each then rounds to the
/// output dtype up to three times (product, scale, bias), relative to what it rounds: u_out times
/// the largest intermediate, itself at most |y| + |b| + the error of the sum. float16 adds its
/// smallest step for subnormal results.
struct LinearTolerance {
  DType output = DType::kFloat32;
  std::int64_t k = 0;
  /// One of the two leaves out the roundings of both operands, two each at most, to this dtype.
  DType operands = DType::kFloat32;

  double operator()(double y, double bias, double sum_of_absolutes) const {
    const double ku = static_cast<double>(k) * 0x1p-24;
    const double sums = (2 * ku / (1 - ku) + 4 * unit_roundoff(operands)) * sum_of_absolutes;
    const double largest = std::fabs(y) + 2 * std::fabs(bias) + sums;
    const double step = output == DType::kFloat16 ? 0x1p-23 : 0.0;
    return sums + 2 * 3 * unit_roundoff(output) * largest + step;
  }

 private:
  static double unit_roundoff(DType dtype) {
    if (dtype == DType::kBFloat16) return 0x1p-8;
    return dtype == DType::kFloat16 ? 0x1p-11 : 0x1p-24;
  }
};

}  // namespace torchao_cpp::ops
