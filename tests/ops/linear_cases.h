// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/quantized_weight.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp::ops {

/// One kind of weight: every operation of the kernel list has at least one.
struct LinearCase {
  std::string name;
  std::string_view config;  ///< Shorthand or JSON; "nf4" and "" (plain) are made here.
  DType weight_dtype = DType::kBFloat16;
  std::int64_t n_multiple = 1;  ///< Sizes that the config takes.
  std::int64_t k_multiple = 1;
};

inline void PrintTo(const LinearCase& c, std::ostream* out) { *out << c.name; }

const std::vector<LinearCase>& linear_cases();

/// Evenly distributed values around 0 with this standard deviation, the same for a seed on every
/// machine.
Tensor random_tensor(DType dtype, Shape shape, unsigned seed, float deviation);

/// A weight as linears get it; `quantized` is null for the plain case.
struct CaseWeight {
  Tensor plain;
  WeightTensorPtr quantized;

  Tensor dequantized() const { return quantized ? quantized->dequantize() : plain; }
};

/// Throws where the case does not take the shape.
CaseWeight make_weight(const LinearCase& item, std::int64_t n, std::int64_t k, unsigned seed);

/// The description kernels get, and where it is a static or prescaled variant, its changes.
QuantizedWeight describe(const LinearCase& item, const CaseWeight& weight);

}  // namespace torchao_cpp::ops
