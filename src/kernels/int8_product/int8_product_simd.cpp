// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "kernels/int8_product/int8_linear.h"
#include "kernels/int8_product/int8_product.h"
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/panels.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using ProductOf = const Int8Product& (*)() noexcept;

template <ProductOf kProduct>
class SimdInt8Linear final : public PackedWeight {
 public:
  explicit SimdInt8Linear(const LinearProblem& problem)
      : linear_(problem),
        plan_{product().max_rows, kRows, product().row_unit},
        slots_(panel_slots(linear_.output_size(), plan_)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m == 0) return;
    const Scratch s = scratch(args.m, args.workspace);
    const Int8Operand operand = linear_.prepare(args, s.activation);
    for (std::int64_t m0 = 0; m0 < args.m; m0 += plan_.rows)
      run_rows(args, operand, s, m0, std::min(plan_.rows, args.m - m0));
  }

 private:
  // Rows of x that one pass over the weight takes.
  static constexpr std::int64_t kRows = 512;

  static const Int8Product& product() noexcept { return kProduct(); }

  struct Scratch {
    std::byte* activation = nullptr;
    std::byte* packed_x = nullptr;
    std::byte* product = nullptr;  ///< [slots, product_bytes]
    std::int32_t* sums = nullptr;  ///< [slots, sum_count]
    std::int64_t product_bytes = 0;
    std::int64_t sum_count = 0;
    std::int64_t total_bytes = 0;
  };

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    const std::int64_t k = linear_.input_size();
    // The last rows may be few, and packed otherwise; never larger than as many as there can be.
    const std::int64_t rows = std::min(m, plan_.rows);
    const std::int64_t rest = m > plan_.rows ? m % plan_.rows : 0;
    const auto larger = [&](std::int64_t a, std::int64_t b) { return (std::max(a, b) + 63) / 64 * 64; };
    Scratch s;
    s.product_bytes = larger(product().scratch_bytes(rows, k), product().scratch_bytes(rest, k));
    s.sum_count = (rows * plan_.columns + 15) / 16 * 16;
    Workspace space(base);
    s.activation = space.take<std::byte>(linear_.workspace_bytes(m));
    s.packed_x = space.take<std::byte>(
        larger(product().packed_x_bytes(rows, k), product().packed_x_bytes(rest, k)));
    s.product = space.take<std::byte>(slots_ * s.product_bytes);
    s.sums = space.take<std::int32_t>(slots_ * s.sum_count);
    s.total_bytes = space.used_bytes();
    return s;
  }

  void run_rows(const LinearArgs& args, const Int8Operand& operand, const Scratch& s,
                std::int64_t m0, std::int64_t rows) const noexcept {
    const std::int64_t k = linear_.input_size();
    parallel_for(product().x_units(rows), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t u = begin; u < end; ++u)
        product().pack_x(operand.codes + m0 * k, rows, k, u, s.packed_x);
    });
    const Int8Rows weight{linear_.codes(), k};
    Epilogue epilogue = linear_.epilogue();
    epilogue.x_offset = product().x_offset;
    const EpilogueArgs outputs{operand.scale, operand.zero_point, args.bias, args.y,
                               args.y_stride};
    for_each_panel(linear_.output_size(), plan_, slots_,
                   [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
                     std::int32_t* sums = s.sums + slot * s.sum_count;
                     product().multiply(weight, n0, columns, s.packed_x, rows,
                                        s.product + slot * s.product_bytes, sums);
                     product().finish(epilogue, outputs, {sums, m0, rows, n0, columns});
                   });
  }

  Int8Linear linear_;
  PanelPlan plan_;
  std::int64_t slots_;
};

template <ProductOf kProduct, CpuIsa kIsa>
LinearKernel simd_kernel(LinearOperation operation) {
  LinearKernel kernel =
      make_linear_kernel<SimdInt8Linear<kProduct>>(operation, cpu_isa_name(kIsa));
  kernel.runs_here = [] { return runs_on(kIsa); };
  kernel.supports = Int8Linear::supports;
  return kernel;
}

}  // namespace

#if defined(__x86_64__)

LinearKernel int8_product_amx(LinearOperation operation) {
  return simd_kernel<int8_product_amx_functions, CpuIsa::kAmx>(operation);
}

LinearKernel int8_product_avx512_vnni(LinearOperation operation) {
  return simd_kernel<int8_product_avx512_vnni_functions, CpuIsa::kAvx512Vnni>(operation);
}

LinearKernel int8_product_avx2(LinearOperation operation) {
  return simd_kernel<int8_product_avx2_functions, CpuIsa::kAvx2>(operation);
}

#endif

#if defined(__aarch64__)

LinearKernel int8_product_neon(LinearOperation operation) {
  return simd_kernel<int8_product_neon_functions, CpuIsa::kNeon>(operation);
}

LinearKernel int8_product_neon_dotprod(LinearOperation operation) {
  return simd_kernel<int8_product_neon_dotprod_functions, CpuIsa::kNeonDotprod>(operation);
}

LinearKernel int8_product_neon_i8mm(LinearOperation operation) {
  return simd_kernel<int8_product_neon_i8mm_functions, CpuIsa::kNeonI8mm>(operation);
}

#endif

}  // namespace torchao_cpp
