// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// A number for each pair of seed and name, as the key of fill_normal.
std::uint64_t normal_key(std::uint64_t seed, std::string_view name) noexcept;

/// The value that follows a standard normal distribution when `probability` is uniform in (0, 1):
/// the inverse of its cumulative distribution, to 1.2e-9 relative. Made of operations that IEEE 754
/// rounds exactly, so that it is the same on every machine.
double normal_quantile(double probability) noexcept;

/// Fills a float32, float16 or bfloat16 tensor with values of normal(0, deviation), rounded to
/// nearest even. Element i depends on `key` and i alone: never on threads or machine.
void fill_normal(Tensor& tensor, double deviation, std::uint64_t key) noexcept;

}  // namespace torchao_cpp
