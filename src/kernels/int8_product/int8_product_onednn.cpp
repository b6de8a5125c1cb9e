// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/int8_product/int8_linear.h"
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/onednn_gemm.h"
#include "kernels/panels.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

// oneDNN copies both operands of a call; a panel of 256 outputs makes the copy of the activation
// small change.
constexpr PanelPlan kPlan{256, 256};

class OneDnnInt8Linear final : public PackedWeight {
 public:
  explicit OneDnnInt8Linear(const LinearProblem& problem)
      : linear_(problem), slots_(panel_slots(linear_.output_size(), kPlan)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    const Scratch s = scratch(args.m, args.workspace);
    const Int8Operand operand = linear_.prepare(args, s.activation);
    for_each_panel(linear_.output_size(), kPlan, slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     run_panel(args, operand, n0, columns, s.sums + slot * sum_count(args.m));
                   });
  }

 private:
  struct Scratch {
    std::byte* activation = nullptr;
    std::int32_t* sums = nullptr;  ///< [slots, rows, columns]
    std::int64_t total_bytes = 0;
  };

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    Workspace space(base);
    Scratch s;
    s.activation = space.take<std::byte>(linear_.workspace_bytes(m));
    s.sums = space.take<std::int32_t>(slots_ * sum_count(m));
    s.total_bytes = space.used_bytes();
    return s;
  }

  static std::int64_t sum_count(std::int64_t m) noexcept {
    return std::min(m, kPlan.rows) * kPlan.columns;
  }

  void run_panel(const LinearArgs& args, const Int8Operand& operand, std::int64_t n0,
                 std::int64_t columns, std::int32_t* sums) const noexcept {
    const std::int64_t k = linear_.input_size();
    for (std::int64_t m0 = 0; m0 < args.m; m0 += kPlan.rows) {
      const std::int64_t rows = std::min(kPlan.rows, args.m - m0);
      onednn_gemm_s8s8s32(
          {rows, columns, k, operand.codes + m0 * k, linear_.codes() + n0 * k, sums});
      linear_.finish(args, operand, m0, rows, n0, columns, sums);
    }
  }

  Int8Linear linear_;
  std::int64_t slots_;
};

Support runs_here() {
  const Support allowed = library_runs_here();
  return allowed.ok ? onednn_has_exact_int8() : allowed;
}

}  // namespace

LinearKernel int8_product_onednn(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<OneDnnInt8Linear>(operation, "onednn");
  kernel.runs_here = runs_here;
  kernel.supports = Int8Linear::supports;
  return kernel;
}

}  // namespace torchao_cpp
