// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_product/float_product_kernels.h"
#include "kernels/float_product/row_product.h"

namespace torchao_cpp {
namespace {

class ReferenceFloatLinear final : public PackedWeight {
 public:
  explicit ReferenceFloatLinear(const LinearProblem& problem) : linear_(problem) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes(); }
  std::int64_t workspace_bytes(std::int64_t m) const noexcept { return linear_.workspace_bytes(m); }
  void run(const LinearArgs& args) const noexcept {
    row_product(linear_, args, linear_.prepare(args, args.workspace));
  }

 private:
  FloatLinear linear_;
};

}  // namespace

LinearKernel float_product_ref(LinearOperation operation) {
  return make_linear_kernel<ReferenceFloatLinear>(operation, "ref");
}

}  // namespace torchao_cpp
