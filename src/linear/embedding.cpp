// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/float_runs.h"
#include "kernels/float_product/float_linear.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {
namespace {

// The weight alone: nothing of what a product does to its activation or its sums.
QuantizedWeight as_table(const WeightTensor& weight) {
  QuantizedWeight w = weight.to_quantized_weight();
  w.activation = {};
  w.act_pre_scale = {};
  w.compute_dtype.reset();
  w.scale_after_product = false;
  return w;
}

FloatLinear make_rows(const LoadedWeight& weight, DType dtype) {
  LinearProblem problem;
  problem.activation_dtype = dtype;
  if (weight.quantized == nullptr) {
    problem.plain = weight.plain.to(dtype);
    return FloatLinear(problem);
  }
  const QuantizedWeight table = as_table(*weight.quantized);
  problem.quantized = &table;
  return FloatLinear(problem);
}

}  // namespace

struct Embedding::Impl {
  FloatLinear rows;  ///< Reads weights; never multiplies.
  DType dtype;
};

Embedding::Embedding(const LoadedWeight& weight, DType dtype)
    : impl_(std::make_unique<Impl>(Impl{make_rows(weight, dtype), dtype})) {}
Embedding::~Embedding() = default;
Embedding::Embedding(Embedding&&) noexcept = default;
Embedding& Embedding::operator=(Embedding&&) noexcept = default;

std::int64_t Embedding::num_embeddings() const noexcept { return impl_->rows.output_size(); }
std::int64_t Embedding::embedding_dim() const noexcept { return impl_->rows.input_size(); }
std::int64_t Embedding::nbytes() const noexcept { return impl_->rows.nbytes(); }

void Embedding::apply(std::span<const std::int32_t> ids, void* out) const noexcept {
  const std::int64_t width = embedding_dim();
  float values[kFloatRun];
  std::int64_t to = 0;
  for (const std::int32_t id : ids) {
    for (std::int64_t done = 0; done < width; done += kFloatRun) {
      const std::int64_t count = std::min(kFloatRun, width - done);
      impl_->rows.read_weight(id, done, count, values);
      store_floats(impl_->dtype, out, to + done, count, values);
    }
    to += width;
  }
}

}  // namespace torchao_cpp
