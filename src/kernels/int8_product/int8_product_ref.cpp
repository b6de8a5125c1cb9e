// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/parallel.h"
#include "kernels/int8_product/int8_linear.h"
#include "kernels/int8_product/int8_product_kernels.h"

namespace torchao_cpp {
namespace {

// Multiply-adds that are worth a thread.
constexpr std::int64_t kGrain = 1 << 16;

std::int32_t dot(const std::int8_t* a, const std::int8_t* b, std::int64_t count) noexcept {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    const auto x = static_cast<std::int16_t>(a[k]);
    const auto w = static_cast<std::int16_t>(b[k]);
    sum += x * w;
  }
  return sum;
}

// One dot product in int32 for each output.
void row_product(const Int8Linear& linear, const LinearArgs& args,
                 const Int8Operand& operand) noexcept {
  const std::int64_t k = linear.input_size();
  const std::int64_t work = std::max<std::int64_t>(k * args.m, 1);
  parallel_for(linear.output_size(), kGrain / work + 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      for (std::int64_t m = 0; m < args.m; ++m) {
        const std::int32_t sum = dot(operand.codes + m * k, linear.codes() + n * k, k);
        linear.finish(args, operand, m, 1, n, 1, &sum);
      }
    }
  });
}

class ReferenceInt8Linear final : public PackedWeight {
 public:
  explicit ReferenceInt8Linear(const LinearProblem& problem) : linear_(problem) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes(); }
  std::int64_t workspace_bytes(std::int64_t m) const noexcept { return linear_.workspace_bytes(m); }
  void run(const LinearArgs& args) const noexcept {
    row_product(linear_, args, linear_.prepare(args, args.workspace));
  }

 private:
  Int8Linear linear_;
};

}  // namespace

LinearKernel int8_product_ref(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<ReferenceInt8Linear>(operation, "ref");
  kernel.supports = Int8Linear::supports;
  return kernel;
}

}  // namespace torchao_cpp
