// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/float_product/float_product_kernels.h"
#include "kernels/float_product/row_product.h"
#include "kernels/onednn_gemm.h"
#include "kernels/panels.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

// A panel of 64 dequantized rows of K = 4096 is 1 MiB and stays in a second-level cache.
constexpr PanelPlan kPlan{64, 256};
// With fewer rows reading the weight outweighs the product; then row_product reads it once and
// stores nothing.
constexpr std::int64_t kFewRows = 8;

class OneDnnFloatLinear final : public PackedWeight {
 public:
  explicit OneDnnFloatLinear(const LinearProblem& problem)
      : linear_(problem), slots_(panel_slots(linear_.output_size(), kPlan)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    const Scratch s = scratch(args.m, args.workspace);
    const FloatOperand operand = linear_.prepare(args, s.activation);
    if (args.m < kFewRows) return row_product(linear_, args, operand);
    for_each_panel(linear_.output_size(), kPlan, slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     run_panel(args, operand, n0, columns, s.panels + slot * panel_floats(),
                               s.sums + slot * sum_floats(args.m));
                   });
  }

 private:
  struct Scratch {
    std::byte* activation = nullptr;
    float* panels = nullptr;  ///< [slots, columns, K]; none where the weight is float32 already.
    float* sums = nullptr;    ///< [slots, rows, columns]
    std::int64_t total_bytes = 0;
  };

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    Workspace space(base);
    Scratch s;
    s.activation = space.take<std::byte>(linear_.workspace_bytes(m));
    if (m >= kFewRows) {
      s.panels = space.take<float>(slots_ * panel_floats());
      s.sums = space.take<float>(slots_ * sum_floats(m));
    }
    s.total_bytes = space.used_bytes();
    return s;
  }

  std::int64_t panel_floats() const noexcept {
    return linear_.plain_float32() != nullptr ? 0 : kPlan.columns * linear_.input_size();
  }
  static std::int64_t sum_floats(std::int64_t m) noexcept {
    return std::min(m, kPlan.rows) * kPlan.columns;
  }

  void run_panel(const LinearArgs& args, const FloatOperand& operand, std::int64_t n0,
                 std::int64_t columns, float* panel, float* sums) const noexcept {
    const std::int64_t k = linear_.input_size();
    const float* weight = linear_.plain_float32();
    if (weight != nullptr) {
      weight += n0 * k;
    } else {
      for (std::int64_t c = 0; c < columns; ++c) linear_.read_weight(n0 + c, 0, k, panel + c * k);
      weight = panel;
    }
    for (std::int64_t m0 = 0; m0 < args.m; m0 += kPlan.rows) {
      const std::int64_t rows = std::min(kPlan.rows, args.m - m0);
      onednn_sgemm({rows, columns, k, operand.values + m0 * k, weight, sums});
      linear_.finish(args, operand, m0, rows, n0, columns, sums);
    }
  }

  FloatLinear linear_;
  std::int64_t slots_;
};

Support supports(const LinearProblem& problem) {
  if (FloatLinear(problem).segment() != problem.input_size())
    return Support::no("scales along K of both operands need a sum for each block");
  return Support::yes();
}

}  // namespace

LinearKernel float_product_onednn(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<OneDnnFloatLinear>(operation, "onednn");
  kernel.runs_here = library_runs_here;
  kernel.supports = supports;
  return kernel;
}

}  // namespace torchao_cpp
