// SPDX-License-Identifier: Apache-2.0
#include "kernels/int8_product/int8_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/parallel.h"
#include "core/activation_quant.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "kernels/scaled_activation.h"
#include "kernels/workspace.h"

namespace torchao_cpp {
namespace {

bool has_zero_point(const ActivationQuant& quant) noexcept {
  return quant.kind == ActivationQuant::Kind::kInt8Static
             ? quant.zero_point.defined()
             : quant.mapping_type == MappingType::kAsymmetric;
}

}  // namespace

/// Pointers into the workspace of one call.
struct Int8Linear::Buffers {
  std::byte* scaled =
      nullptr;  ///< [M, K] compute dtype; only where the activation is scaled or cast.
  std::int8_t* codes = nullptr;
  float* scale = nullptr;
  std::int8_t* zero_point = nullptr;
  std::int64_t total_bytes = 0;
};

Int8Linear::Int8Linear(const LinearProblem& problem)
    : weight_(*problem.quantized),
      activation_dtype_(problem.activation_dtype),
      compute_dtype_(linear_compute_dtype(problem)) {
  const std::int64_t k = weight_.input_size;
  const auto rows = static_cast<std::size_t>(weight_.output_size);
  column_scale_.resize(rows);
  code_sums_.resize(rows);
  parallel_for(weight_.output_size, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const auto i = static_cast<std::size_t>(n);
      column_scale_[i] =
          load_float(weight_.scale.dtype(), weight_.scale.bytes(), n / weight_.block_size[0]);
      const std::int8_t* row = codes() + n * k;
      code_sums_[i] = std::accumulate(row, row + k, std::int32_t{0});
    }
  });
  weight_.scale = {};
}

Support Int8Linear::supports(const LinearProblem& problem) {
  // Each product is at most 2^14 in size.
  constexpr std::int64_t kMaxColumns = (std::int64_t{1} << 17) - 1;
  if (problem.input_size() <= kMaxColumns) return Support::yes();
  return Support::no(fmt::format("K is {}; sums of more than {} products may leave int32",
                                 problem.input_size(), kMaxColumns));
}

std::int64_t Int8Linear::nbytes() const noexcept {
  const std::size_t per_row =
      column_scale_.size() * sizeof(float) + code_sums_.size() * sizeof(std::int32_t);
  return weight_.qdata.nbytes() + weight_.act_pre_scale.nbytes() +
         static_cast<std::int64_t>(per_row);
}

Int8Linear::Buffers Int8Linear::buffers(std::int64_t m, std::byte* workspace) const noexcept {
  Workspace space(workspace);
  Buffers b;
  if (scales_activation(activation_dtype_, weight_.act_pre_scale, compute_dtype_))
    b.scaled = space.take<std::byte>(m * input_size() * dtype_size_bytes(compute_dtype_));
  b.codes = space.take<std::int8_t>(m * input_size());
  b.scale = space.take<float>(m);
  if (has_zero_point(weight_.activation)) b.zero_point = space.take<std::int8_t>(m);
  b.total_bytes = space.used_bytes();
  return b;
}

std::int64_t Int8Linear::workspace_bytes(std::int64_t m) const noexcept {
  return buffers(m, nullptr).total_bytes;
}

Int8Operand Int8Linear::prepare(const LinearArgs& args, std::byte* workspace) const noexcept {
  const Buffers b = buffers(args.m, workspace);
  ActivationView x{args.x, activation_dtype_, args.m, input_size(), input_size()};
  x = scale_activation(x, weight_.act_pre_scale, compute_dtype_, b.scaled);
  quantize_activation_int8(x, weight_.activation, b.codes, b.scale, b.zero_point);
  return {b.codes, b.scale, b.zero_point};
}

void Int8Linear::finish(const LinearArgs& args, const Int8Operand& operand, std::int64_t m0,
                        std::int64_t rows, std::int64_t n0, std::int64_t columns,
                        const std::int32_t* sums) const noexcept {
  for_dtype(compute_dtype_, [&]<DType kDType>() {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t done = 0; done < columns; done += kFloatRun) {
        const std::int64_t count = std::min(kFloatRun, columns - done);
        finish_run<kDType>(args, operand, m0 + r, n0 + done, count, sums + r * columns + done);
      }
    }
  });
}

template <DType kDType>
void Int8Linear::finish_run(const LinearArgs& args, const Int8Operand& operand, std::int64_t m,
                            std::int64_t n, std::int64_t count,
                            const std::int32_t* sums) const noexcept {
  const float row_scale = operand.scale[m];
  float v[kFloatRun];
  // torchao leaves float32 for the activation's dtype between its two scales.
  for (std::int64_t i = 0; i < count; ++i)
    v[i] = round_to(kDType, static_cast<float>(sums[i]) * row_scale);
  if (operand.zero_point != nullptr) {
    const float zero = static_cast<float>(operand.zero_point[m]) * row_scale;
    const std::int32_t* code_sums = code_sums_.data() + n;
    for (std::int64_t i = 0; i < count; ++i)
      v[i] = round_to(kDType, v[i] - round_to(kDType, zero * static_cast<float>(code_sums[i])));
  }
  const float* column_scale = column_scale_.data() + n;
  for (std::int64_t i = 0; i < count; ++i) v[i] *= column_scale[i];
  if (args.bias != nullptr) {
    float bias[kFloatRun];
    load_floats(activation_dtype_, args.bias, n, count, bias);
    for (std::int64_t i = 0; i < count; ++i) v[i] += bias[i];
  }
  if (kDType != activation_dtype_) {
    for (std::int64_t i = 0; i < count; ++i) v[i] = round_to(kDType, v[i]);
  }
  store_floats(activation_dtype_, args.y, m * args.y_stride + n, count, v);
}

}  // namespace torchao_cpp
