// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// The kernel for a weight, and those of the same operation that came before it and did not fit.
struct KernelChoice {
  const LinearKernel* kernel = nullptr;
  std::vector<std::string> rejected;  ///< "name: reason"
};

/// The first kernel of the list that supports `problem`. `force` is empty, an ISA, or a kernel's
/// name, which holds for problems of that operation. Throws UnsupportedError with every reason when
/// none fits, or with the known names for an unknown `force`.
KernelChoice choose_kernel(const LinearProblem& problem, std::string_view force);

}  // namespace torchao_cpp
