// SPDX-License-Identifier: Apache-2.0
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/int8_product/int8_row_product.h"

namespace torchao_cpp {
namespace {

const Int8Linear& linear_of(const PackedWeight& packed) noexcept {
  return static_cast<const Int8Linear&>(packed);
}

}  // namespace

LinearKernel int8_product_ref(LinearOperation operation) noexcept {
  LinearKernel kernel;
  kernel.operation = operation;
  kernel.isa = "ref";
  kernel.runs_here = [] { return Support::yes(); };
  kernel.supports = [](const LinearProblem&) { return Support::yes(); };
  kernel.pack = [](const LinearProblem& problem) -> std::unique_ptr<PackedWeight> {
    return std::make_unique<Int8Linear>(problem);
  };
  kernel.workspace_bytes = [](const PackedWeight& packed, std::int64_t m) noexcept {
    return linear_of(packed).workspace_bytes(m);
  };
  kernel.run = [](const PackedWeight& packed, const LinearArgs& args) noexcept {
    const Int8Linear& linear = linear_of(packed);
    int8_row_product(linear, args, linear.prepare(args, args.workspace));
  };
  return kernel;
}

}  // namespace torchao_cpp
