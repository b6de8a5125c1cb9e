// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "base/cpu_features.h"
#include "kernels/float_product/float_product_kernels.h"
#include "kernels/float_product/packed_code_rows.h"
#include "kernels/float_product/simd_products.h"
#include "kernels/panels.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using ProductOf = const FloatProduct& (*)() noexcept;

/// Few rows of x: a dot product for each output, its weight row taken apart on the way. Many: the
/// weight is taken apart block by block into a buffer that stays in the second-level cache, and
/// multiplied there with all of x. Both read one form of the weight.
template <ProductOf kProduct>
class SimdFloatLinear final : public PackedWeight {
 public:
  explicit SimdFloatLinear(const LinearProblem& problem)
      : linear_(problem),
        rows_(linear_, product()),
        dot_plan_{64, product().dot_rows},
        gemm_plan_{product().gemm_rows, kGemmRows, product().gemm_unit},
        dot_slots_(panel_slots(linear_.output_size(), dot_plan_)),
        gemm_slots_(panel_slots(linear_.output_size(), gemm_plan_)) {
    linear_.release_weight();
  }

  static Support supports(const LinearProblem& problem) {
    return PackedCodeRows::supports(FloatLinear(problem), product());
  }

  std::int64_t nbytes() const noexcept override { return rows_.nbytes() + linear_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m == 0) return;
    const Scratch s = scratch(args.m, args.workspace);
    const bool is_dot = args.m <= dot_plan_.rows;
    const bool packs_x = !is_dot || product().pack_dot_x != nullptr;
    const FloatOperand operand = linear_.prepare(args, s.activation, packs_x);
    if (is_dot) return run_dot(args, operand, s);
    for (std::int64_t m0 = 0; m0 < args.m; m0 += gemm_plan_.rows)
      run_gemm(args, operand, s, m0, std::min(gemm_plan_.rows, args.m - m0));
  }

 private:
  // Rows of x that one pass over the weight takes: the weight is taken apart once for all of them.
  static constexpr std::int64_t kGemmRows = 512;

  static const FloatProduct& product() noexcept { return kProduct(); }

  struct Scratch {
    std::byte* activation = nullptr;
    std::byte* packed_x = nullptr;
    float* product = nullptr;  ///< [slots, product_floats]
    float* sums = nullptr;     ///< [slots, sum_floats]
    std::int64_t product_floats = 0;
    std::int64_t sum_floats = 0;
    std::int64_t total_bytes = 0;
  };

  static std::int64_t whole_lines(std::int64_t floats) noexcept { return (floats + 15) / 16 * 16; }

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    const bool is_dot = m <= dot_plan_.rows;
    const std::int64_t rows = std::min(m, is_dot ? dot_plan_.rows : gemm_plan_.rows);
    const std::int64_t slots = is_dot ? dot_slots_ : gemm_slots_;
    Scratch s;
    s.product_floats = whole_lines(is_dot ? product().dot_scratch(rows_.rows())
                                          : product().gemm_scratch(rows_.rows(), rows));
    s.sum_floats =
        whole_lines(std::min(rows, kSumRows) * (is_dot ? dot_plan_ : gemm_plan_).columns);
    Workspace space(base);
    s.activation = space.take<std::byte>(linear_.workspace_bytes(m));
    if (!is_dot) {
      s.packed_x = space.take<std::byte>(product().packed_x_bytes(rows, linear_.input_size()));
    } else if (product().pack_dot_x != nullptr) {
      s.packed_x = space.take<std::byte>(product().dot_x_bytes(rows, linear_.input_size()));
    }
    s.product = space.take<float>(slots * s.product_floats);
    s.sums = space.take<float>(slots * s.sum_floats);
    s.total_bytes = space.used_bytes();
    return s;
  }

  struct XRows {
    const void* data = nullptr;
    CodeForm form = CodeForm::kFloat32;
  };

  // The left operand from row m0.
  XRows x_rows(const FloatOperand& operand, std::int64_t m0) const noexcept {
    const std::int64_t first = m0 * linear_.input_size();
    if (operand.bfloat16 == nullptr) return {operand.values + first, CodeForm::kFloat32};
    return {static_cast<const std::uint16_t*>(operand.bfloat16) + first, CodeForm::kBFloat16};
  }

  void run_dot(const LinearArgs& args, const FloatOperand& operand,
               const Scratch& s) const noexcept {
    const void* x = operand.values;
    if (product().pack_dot_x != nullptr) {
      const XRows rows = x_rows(operand, 0);
      product().pack_dot_x(rows_.rows(), rows.data, rows.form, args.m, s.packed_x);
      x = s.packed_x;
    }
    for_each_panel(linear_.output_size(), dot_plan_, dot_slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     float* sums = s.sums + slot * s.sum_floats;
                     product().dot(rows_.rows(), n0, columns, x, args.m,
                                   s.product + slot * s.product_floats, sums);
                     finish(args, operand, {sums, 0, args.m, n0, columns});
                   });
  }

  void run_gemm(const LinearArgs& args, const FloatOperand& operand, const Scratch& s,
                std::int64_t m0, std::int64_t rows) const noexcept {
    const XRows x = x_rows(operand, m0);
    parallel_for(product().x_panels(rows), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p)
        product().pack_x(rows_.rows(), x.data, x.form, rows, p, s.packed_x);
    });
    for_each_panel(linear_.output_size(), gemm_plan_, gemm_slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     float* sums = s.sums + slot * s.sum_floats;
                     float* scratch = s.product + slot * s.product_floats;
                     product().gemm(rows_.rows(), n0, columns, s.packed_x, rows, scratch);
                     for (std::int64_t r = 0; r < rows; r += kSumRows) {
                       const std::int64_t count = std::min(kSumRows, rows - r);
                       product().take_sums(rows_.rows(), columns, rows, scratch, r, count, sums);
                       finish(args, operand, {sums, m0 + r, count, n0, columns});
                     }
                   });
  }

  void finish(const LinearArgs& args, const FloatOperand& operand,
              const SumBlock& block) const noexcept {
    product().finish(linear_.epilogue(),
                     {operand.row_scale, nullptr, args.bias, args.y, args.y_stride}, block);
  }

  FloatLinear linear_;
  PackedCodeRows rows_;
  PanelPlan dot_plan_;
  PanelPlan gemm_plan_;
  std::int64_t dot_slots_;
  std::int64_t gemm_slots_;
};

template <ProductOf kProduct, CpuIsa kIsa>
LinearKernel simd_kernel(LinearOperation operation) {
  using Packed = SimdFloatLinear<kProduct>;
  LinearKernel kernel = make_linear_kernel<Packed>(operation, cpu_isa_name(kIsa));
  kernel.runs_here = [] { return runs_on(kIsa); };
  kernel.supports = Packed::supports;
  return kernel;
}

}  // namespace

#if defined(__x86_64__)

LinearKernel float_product_amx(LinearOperation operation) {
  return simd_kernel<float_product_amx_functions, CpuIsa::kAmx>(operation);
}

LinearKernel float_product_avx512_bf16(LinearOperation operation) {
  return simd_kernel<float_product_avx512_bf16_functions, CpuIsa::kAvx512Bf16>(operation);
}

LinearKernel float_product_avx512(LinearOperation operation) {
  return simd_kernel<float_product_avx512_functions, CpuIsa::kAvx512>(operation);
}

LinearKernel float_product_avx2(LinearOperation operation) {
  return simd_kernel<float_product_avx2_functions, CpuIsa::kAvx2>(operation);
}

#elif defined(__aarch64__)

LinearKernel float_product_neon(LinearOperation operation) {
  return simd_kernel<float_product_neon_functions, CpuIsa::kNeon>(operation);
}

#endif

}  // namespace torchao_cpp
