// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/float_product_kernels.h"
#include "kernels/float_product/row_product.h"

namespace torchao_cpp {
namespace {

const FloatLinear& linear_of(const PackedWeight& packed) noexcept {
  return static_cast<const FloatLinear&>(packed);
}

std::unique_ptr<PackedWeight> pack(const LinearProblem& problem) {
  return std::make_unique<FloatLinear>(problem);
}

std::int64_t workspace_bytes(const PackedWeight& packed, std::int64_t m) noexcept {
  return linear_of(packed).workspace_bytes(m);
}

void run(const PackedWeight& packed, const LinearArgs& args) noexcept {
  const FloatLinear& linear = linear_of(packed);
  row_product(linear, args, linear.prepare(args, args.workspace));
}

}  // namespace

LinearKernel float_product_ref(LinearOperation operation) noexcept {
  LinearKernel kernel;
  kernel.operation = operation;
  kernel.isa = "ref";
  kernel.runs_here = [] { return Support::yes(); };
  kernel.supports = [](const LinearProblem&) { return Support::yes(); };
  kernel.pack = pack;
  kernel.workspace_bytes = workspace_bytes;
  kernel.run = run;
  return kernel;
}

}  // namespace torchao_cpp
