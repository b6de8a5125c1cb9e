// SPDX-License-Identifier: Apache-2.0
#include "models/device_tensor.h"

#include "kernels/cuda/cuda_device.h"

namespace torchao_cpp {

Tensor empty_on(Device device, DType dtype, Shape shape) {
  if (device.type == DeviceType::kCPU) return Tensor::empty(dtype, std::move(shape));
  const std::int64_t bytes = shape_numel(shape) * dtype_size_bytes(dtype);
  const auto memory = std::make_shared<const DeviceBuffer>(bytes, device.index);
  return Tensor::borrow_mutable(memory->data(), dtype, std::move(shape), memory, device);
}

Tensor zeros_on(Device device, DType dtype, Shape shape) {
  if (device.type == DeviceType::kCPU) return Tensor::zeros(dtype, std::move(shape));
  return empty_on(device, dtype, std::move(shape));
}

Tensor moved_to(Device device, const Tensor& host) {
  if (device.type == DeviceType::kCPU || !host.defined()) return host;
  const auto memory =
      std::make_shared<const DeviceBuffer>(host.bytes(), host.nbytes(), device.index);
  return Tensor::borrow_mutable(memory->data(), host.dtype(), host.shape(), memory, device);
}

}  // namespace torchao_cpp
