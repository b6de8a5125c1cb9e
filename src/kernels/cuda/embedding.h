// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/float_product/float_linear.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp::cuda {

/// A table of rows in a GPU's memory, looked up by id. In a build without CUDA there are none.
class DeviceEmbedding {
 public:
  virtual ~DeviceEmbedding() = default;
  virtual std::int64_t nbytes() const noexcept = 0;
  /// out [count, K] of the problem's activation dtype; ids lie `id_stride` elements apart.
  virtual void apply(const std::int32_t* ids, std::int64_t count, std::int64_t id_stride, void* out,
                     Stream stream) const noexcept = 0;
};

/// `host` is the problem's. Throws DeviceError, UnsupportedError in a build without CUDA.
std::unique_ptr<const DeviceEmbedding> make_embedding(const LinearProblem& problem,
                                                      const FloatLinear& host);

}  // namespace torchao_cpp::cuda
