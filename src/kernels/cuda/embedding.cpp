// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/embedding.h"

#include "kernels/cuda/cuda_linear.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::cuda {
namespace {

class CudaEmbedding final : public DeviceEmbedding {
 public:
  CudaEmbedding(const LinearProblem& problem, const FloatLinear& host)
      : dtype_(problem.activation_dtype),
        weight_(problem, true, !host.is_plain() && host.value_dtype() == host.weight().dtype,
                problem.device.index) {}

  std::int64_t nbytes() const noexcept override { return weight_.nbytes(); }

  void apply(const std::int32_t* ids, std::int64_t count, std::int64_t id_stride, void* out,
             Stream stream) const noexcept override {
    launch_embedding(weight_.view(), ids, count, id_stride, dtype_, out, stream.handle);
  }

 private:
  DType dtype_;
  DeviceWeight weight_;
};

}  // namespace

std::unique_ptr<const DeviceEmbedding> make_embedding(const LinearProblem& problem,
                                                      const FloatLinear& host) {
  if (const Support support = supports_device(problem, 0); !support.ok)
    throw UnsupportedError("Embedding: " + support.reason);
  return std::make_unique<CudaEmbedding>(problem, host);
}

}  // namespace torchao_cpp::cuda
