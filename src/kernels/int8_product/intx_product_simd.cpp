// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <optional>

#include "base/cpu_features.h"
#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/activation_quant.h"
#include "core/float_runs.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/float_product/packed_code_rows.h"
#include "kernels/int8_product/int8_product.h"
#include "kernels/int8_product/int8_product_kernels.h"
#include "kernels/int8_product/intx_code_rows.h"
#include "kernels/int8_product/packed_intx_rows.h"
#include "kernels/panels.h"
#include "kernels/scaled_activation.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

using ProductOf = const IntxProduct& (*)() noexcept;

// codes - zero as bfloat16, which holds all integers of up to 8 bits and a sign.
TORCHAO_CPP_VECTOR_CLONES void differences(const std::int8_t* codes, int zero, std::int64_t count,
                                           std::uint16_t* out) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(codes[i] - zero));
    out[i] = static_cast<std::uint16_t>(bits >> 16);
  }
}

/// int8 activations times codes of few bits in integers, group by group, as torchao's own kernels
/// for Arm do. Its CPU path multiplies floats that were rounded to T: this one leaves those
/// roundings out. More rows than the product takes with small groups go to its float_product: codes
/// of x less their zero point are bfloat16 values.
template <ProductOf kProduct>
class SimdIntxLinear final : public PackedWeight {
 public:
  explicit SimdIntxLinear(const LinearProblem& problem)
      : linear_(problem),
        activation_dtype_(problem.activation_dtype),
        rows_(linear_.weight(), product()),
        plan_{product().max_rows, kRows, product().row_unit},
        slots_(panel_slots(linear_.output_size(), plan_)) {
    if (most_rows(*problem.quantized) < kRows) {
      code_rows_.emplace(rows_.rows(), linear_.output_size());
      float_plan_ = {float_product().gemm_rows, kRows, float_product().gemm_unit};
      float_slots_ = panel_slots(linear_.output_size(), float_plan_);
    }
    linear_.release_weight();
  }

  static Support supports(const LinearProblem& problem) {
    const Support support = PackedIntxRows::supports(*problem.quantized, product());
    if (!support.ok || most_rows(*problem.quantized) >= kRows) return support;
    return PackedCodeRows::supports(FloatLinear(problem), float_product());
  }

  std::int64_t nbytes() const noexcept override {
    return rows_.nbytes() + linear_.nbytes() + (code_rows_ ? code_rows_->nbytes() : 0);
  }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m == 0) return;
    const Scratch s = scratch(args.m, args.workspace);
    ActivationView x{args.x, activation_dtype_, args.m, input_size(), input_size()};
    x = scale_activation(x, act_pre_scale(), linear_.compute_dtype(), s.scaled);
    quantize_activation_int8_asym_per_token(x, s.codes, s.row_scale, s.zero_point);
    for (std::int64_t m0 = 0; m0 < args.m; m0 += plan_.rows) {
      const std::int64_t rows = std::min(plan_.rows, args.m - m0);
      if (is_float(rows)) {
        run_float_rows(args, s, m0, rows);
      } else {
        run_rows(args, s, m0, rows);
      }
    }
  }

 private:
  // Rows of x that one pass over the weight takes.
  static constexpr std::int64_t kRows = 512;

  static const IntxProduct& product() noexcept { return kProduct(); }
  static const FloatProduct& float_product() noexcept { return product().float_product(); }
  static std::int64_t most_rows(const QuantizedWeight& w) noexcept {
    const std::int64_t columns = w.block_size[1];
    return product().most_rows == nullptr || columns == w.input_size ? kRows
                                                                     : product().most_rows(columns);
  }
  bool is_float(std::int64_t rows) const noexcept {
    return code_rows_ && rows > product().most_rows(rows_.rows().group_columns);
  }
  std::int64_t input_size() const noexcept { return linear_.input_size(); }
  const Tensor& act_pre_scale() const noexcept { return linear_.weight().act_pre_scale; }

  struct Scratch {
    std::byte* scaled = nullptr;  ///< [M, K] compute dtype; only where x is scaled or cast.
    std::int8_t* codes = nullptr;
    float* row_scale = nullptr;
    std::int8_t* zero_point = nullptr;
    std::uint16_t* values = nullptr;  ///< [rows, K] bfloat16; only for the product of floats.
    std::byte* packed_x = nullptr;
    std::byte* product = nullptr;  ///< [slots, product_bytes]
    float* sums = nullptr;         ///< [slots, sum_count]
    std::int64_t product_bytes = 0;
    std::int64_t sum_count = 0;
    std::int64_t total_bytes = 0;
  };

  std::int64_t packed_x_bytes(std::int64_t rows) const noexcept {
    return is_float(rows) ? float_product().packed_x_bytes(rows, input_size())
                          : product().packed_x_bytes(rows, input_size());
  }
  std::int64_t product_bytes(std::int64_t rows) const noexcept {
    return is_float(rows) ? float_product().gemm_scratch(code_rows_->rows(), rows) * 4
                          : product().scratch_bytes(rows, input_size());
  }
  std::int64_t sum_count(std::int64_t rows) const noexcept {
    return is_float(rows) ? std::min(rows, kSumRows) * float_plan_.columns : rows * plan_.columns;
  }

  Scratch scratch(std::int64_t m, std::byte* base) const noexcept {
    const std::int64_t k = input_size();
    const std::int64_t rows = std::min(m, plan_.rows);
    const std::int64_t rest = m > plan_.rows ? m % plan_.rows : 0;
    const auto larger = [](std::int64_t a, std::int64_t b) {
      return (std::max(a, b) + 63) / 64 * 64;
    };
    Scratch s;
    s.product_bytes = larger(product_bytes(rows), product_bytes(rest));
    s.sum_count = larger(sum_count(rows), sum_count(rest));
    Workspace space(base);
    if (scales_activation(activation_dtype_, act_pre_scale(), linear_.compute_dtype()))
      s.scaled = space.take<std::byte>(m * k * dtype_size_bytes(linear_.compute_dtype()));
    s.codes = space.take<std::int8_t>(m * k);
    s.row_scale = space.take<float>(m);
    s.zero_point = space.take<std::int8_t>(m);
    if (is_float(rows)) s.values = space.take<std::uint16_t>(rows * k);
    s.packed_x = space.take<std::byte>(larger(packed_x_bytes(rows), packed_x_bytes(rest)));
    const std::int64_t slots = std::max(slots_, float_slots_);
    s.product = space.take<std::byte>(slots * s.product_bytes);
    s.sums = space.take<float>(slots * s.sum_count);
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

  void pack_float_rows(const Scratch& s, std::int64_t m0, std::int64_t rows) const noexcept {
    const std::int64_t k = input_size();
    parallel_for(rows, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        differences(s.codes + (m0 + r) * k, s.zero_point[m0 + r], k, s.values + r * k);
      }
    });
    parallel_for(float_product().x_panels(rows), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t p = begin; p < end; ++p)
        float_product().pack_x(code_rows_->rows(), s.values, CodeForm::kBFloat16, rows, p,
                               s.packed_x);
    });
  }

  void run_float_rows(const LinearArgs& args, const Scratch& s, std::int64_t m0,
                      std::int64_t rows) const noexcept {
    pack_float_rows(s, m0, rows);
    const CodeRows& weight = code_rows_->rows();
    const EpilogueArgs outputs{s.row_scale, nullptr, args.bias, args.y, args.y_stride};
    for_each_panel(
        linear_.output_size(), float_plan_, float_slots_,
        [&](std::int64_t slot, std::int64_t n0, std::int64_t columns) {
          float* sums = s.sums + slot * s.sum_count;
          auto* scratch = reinterpret_cast<float*>(s.product + slot * s.product_bytes);
          float_product().gemm(weight, n0, columns, s.packed_x, rows, scratch);
          for (std::int64_t r = 0; r < rows; r += kSumRows) {
            const std::int64_t count = std::min(kSumRows, rows - r);
            float_product().take_sums(weight, columns, rows, scratch, r, count, sums);
            float_product().finish(linear_.epilogue(), outputs, {sums, m0 + r, count, n0, columns});
          }
        });
  }

  FloatLinear linear_;
  DType activation_dtype_;
  PackedIntxRows rows_;
  std::optional<IntxCodeRows> code_rows_;  ///< Where the product does not take all numbers of rows.
  PanelPlan plan_;
  PanelPlan float_plan_;
  std::int64_t slots_;
  std::int64_t float_slots_ = 0;
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

LinearKernel intx_product_avx2() {
  return simd_kernel<intx_product_avx2_functions, CpuIsa::kAvx2>("avx2_int8");
}

LinearKernel intx_product_avx512_vnni() {
  return simd_kernel<intx_product_avx512_vnni_functions, CpuIsa::kAvx512Vnni>("avx512_vnni");
}

}  // namespace torchao_cpp
