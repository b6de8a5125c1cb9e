// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/float_runs.h"
#include "kernels/cuda/embedding.h"
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

}  // namespace

struct Embedding::Impl {
  Impl(const LinearProblem& problem)
      : rows(problem),
        dtype(problem.activation_dtype),
        on_device(problem.device.type == DeviceType::kCUDA ? cuda::make_embedding(problem, rows)
                                                           : nullptr),
        nbytes(on_device ? on_device->nbytes() : rows.nbytes()) {
    if (on_device) rows.release_weight();
  }

  static std::unique_ptr<Impl> make(const LoadedWeight& weight, DType dtype, Device device) {
    LinearProblem problem;
    problem.activation_dtype = dtype;
    problem.device = device;
    if (weight.quantized == nullptr) {
      problem.plain = weight.plain.to(dtype);
      return std::make_unique<Impl>(problem);
    }
    const QuantizedWeight table = as_table(*weight.quantized);
    problem.quantized = &table;
    return std::make_unique<Impl>(problem);
  }

  FloatLinear rows;  ///< Reads weights; never multiplies.
  DType dtype;
  std::unique_ptr<const cuda::DeviceEmbedding> on_device;
  std::int64_t nbytes;
};

Embedding::Embedding(const LoadedWeight& weight, DType dtype, Device device)
    : impl_(Impl::make(weight, dtype, device)) {}
Embedding::~Embedding() = default;
Embedding::Embedding(Embedding&&) noexcept = default;
Embedding& Embedding::operator=(Embedding&&) noexcept = default;

std::int64_t Embedding::num_embeddings() const noexcept { return impl_->rows.output_size(); }
std::int64_t Embedding::embedding_dim() const noexcept { return impl_->rows.input_size(); }
std::int64_t Embedding::nbytes() const noexcept { return impl_->nbytes; }

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

void Embedding::apply_on_device(const std::int32_t* ids, std::int64_t count, std::int64_t id_stride,
                                void* out, Stream stream) const noexcept {
  impl_->on_device->apply(ids, count, id_stride, out, stream);
}

}  // namespace torchao_cpp
