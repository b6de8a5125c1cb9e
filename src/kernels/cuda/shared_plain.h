// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernels/cuda/cuda_device.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp::cuda {

/// As long as this lives, all that is packed for a GPU of one plain tensor, such as an embedding
/// and the head that is tied to it, holds one copy there. Safe to use from many threads.
class SharedPlain {
 public:
  /// Keeps the host's tensor; nothing is shared of an undefined one.
  explicit SharedPlain(const Tensor& plain);
  ~SharedPlain();
  SharedPlain(const SharedPlain&) = delete;
  SharedPlain& operator=(const SharedPlain&) = delete;

  /// The copy on a device; null where the tensor is not shared or has none yet.
  static std::shared_ptr<DeviceBuffer> find(const Tensor& plain, int device);
  /// Makes `buffer` the copy that others find. Of a tensor that is not shared it does nothing.
  static void offer(const Tensor& plain, const std::shared_ptr<DeviceBuffer>& buffer);

 private:
  struct Entry;
  std::shared_ptr<Entry> entry_;
};

}  // namespace torchao_cpp::cuda
