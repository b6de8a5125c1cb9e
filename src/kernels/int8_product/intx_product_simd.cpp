// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "core/activation_quant.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/int8_product/int8_product.h"
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/int8_product/packed_intx_rows.h"
#include "kernels/panels.h"
#include "kernels/scaled_activation.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using ProductOf = const IntxProduct& (*)() noexcept;

/// int8 activations times codes of few bits in integers, group by group, as torchao's own kernels for
/// Arm do. Its CPU path multiplies floats that were rounded to T: this one leaves those roundings out.
template <ProductOf kProduct>
class SimdIntxLinear final : public PackedWeight {
 public:
  explicit SimdIntxLinear(const LinearProblem& problem)
      : linear_(problem),
        activation_dtype_(problem.activation_dtype),
        rows_(linear_.weight(), product()),
        plan_{product().max_rows, kRows, product().row_unit},
        slots_(panel_slots(linear_.output_size(), plan_)) {
    linear_.release_weight();
  }

  static Support supports(const LinearProblem& problem) {
    return PackedIntxRows::supports(*problem.quantized, product());
  }

  std::int64_t nbytes() const noexcept override { return rows_.nbytes() + linear_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m == 0) return;
    const Scratch s = scratch(args.m, args.workspace);
    ActivationView x{args.x, activation_dtype_, args.m, input_size(), input_size()};
    x = scale_activation(x, act_pre_scale(), linear_.compute_dtype(), s.scaled);
    quantize_activation_int8_asym_per_token(x, s.codes, s.row_scale, s.zero_point);
    for (std::int64_t m0 = 0; m0 < args.m; m0 += plan_.rows)
      run_rows(args, s, m0, std::min(plan_.rows, args.m - m0));
  }

 private:
  // Rows of x that one pass over the weight takes.
  static constexpr std::int64_t kRows = 512;

  static const IntxProduct& product() noexcept { return kProduct(); }
  std::int64_t input_size() const noexcept { return linear_.input_size(); }
  const Tensor& act_pre_scale() const noexcept { return linear_.weight().act_pre_scale; }

  struct Scratch {
    std::byte* scaled = nullptr;  ///< [M, K] compute dtype; only where x is scaled or cast.
    std::int8_t* codes = nullptr;
    float* row_scale = nullptr;
    std::int8_t* zero_point = nullptr;
    std::byte* packed_x = nullptr;
    std::byte* product = nullptr;  ///< [slots, product_bytes]
    float* sums = nullptr;         ///< [slots, sum_count]
    std::int64_t product_bytes = 0;
    std::int64_t sum_count = 0;
    std::int64_t total_bytes = 0;
  };

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    const std::int64_t k = input_size();
    const std::int64_t rows = std::min(m, plan_.rows);
    const std::int64_t rest = m > plan_.rows ? m % plan_.rows : 0;
    const auto larger = [](std::int64_t a, std::int64_t b) {
      return (std::max(a, b) + 63) / 64 * 64;
    };
    Scratch s;
    s.product_bytes = larger(product().scratch_bytes(rows, k), product().scratch_bytes(rest, k));
    s.sum_count = (rows * plan_.columns + 15) / 16 * 16;
    Workspace space(base);
    if (scales_activation(activation_dtype_, act_pre_scale(), linear_.compute_dtype()))
      s.scaled = space.take<std::byte>(m * k * dtype_size_bytes(linear_.compute_dtype()));
    s.codes = space.take<std::int8_t>(m * k);
    s.row_scale = space.take<float>(m);
    s.zero_point = space.take<std::int8_t>(m);
    s.packed_x = space.take<std::byte>(
        larger(product().packed_x_bytes(rows, k), product().packed_x_bytes(rest, k)));
    s.product = space.take<std::byte>(slots_ * s.product_bytes);
    s.sums = space.take<float>(slots_ * s.sum_count);
    s.total_bytes = space.used_bytes();
    return s;
  }

  void run_rows(const LinearArgs& args, const Scratch& s, std::int64_t m0,
                std::int64_t rows) const noexcept {
    const std::int64_t k = input_size();
    parallel_for(product().x_units(rows), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t u = begin; u < end; ++u)
        product().pack_x(s.codes + m0 * k, rows, k, u, s.packed_x);
    });
    Epilogue epilogue = linear_.epilogue();
    epilogue.x_offset = product().x_offset;
    epilogue.value_sums = rows_.value_sums();
    const EpilogueArgs outputs{s.row_scale, s.zero_point, args.bias, args.y, args.y_stride};
    for_each_panel(linear_.output_size(), plan_, slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     float* sums = s.sums + slot * s.sum_count;
                     product().multiply(rows_.rows(), n0, columns, s.packed_x, rows,
                                        s.product + slot * s.product_bytes, sums);
                     product().finish(epilogue, outputs, {sums, m0, rows, n0, columns});
                   });
  }

  FloatLinear linear_;
  DType activation_dtype_;
  PackedIntxRows rows_;
  PanelPlan plan_;
  std::int64_t slots_;
};

template <ProductOf kProduct, CpuIsa kIsa>
LinearKernel simd_kernel(std::string_view name) {
  LinearKernel kernel = make_linear_kernel<SimdIntxLinear<kProduct>>(
      LinearOperation::kInt8DynamicActivationIntxWeight, name);
  kernel.has_fewer_roundings = true;
  kernel.runs_here = [] { return runs_on(kIsa); };
  kernel.supports = SimdIntxLinear<kProduct>::supports;
  return kernel;
}

}  // namespace

LinearKernel intx_product_amx() {
  return simd_kernel<intx_product_amx_functions, CpuIsa::kAmx>("amx_int8");
}

LinearKernel intx_product_avx512_vnni() {
  return simd_kernel<intx_product_avx512_vnni_functions, CpuIsa::kAvx512Vnni>("avx512_vnni");
}

}  // namespace torchao_cpp
