// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>

#include "torchao_cpp/device.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp::python {

/// A tensor as Python sees it: contiguous, on the CPU or a GPU, exchanged by DLPack without copies.
struct Array {
  DType dtype = DType::kFloat32;
  Shape shape;
  Device device;
  void* data = nullptr;
  bool is_read_only = false;
  std::shared_ptr<const void> owner;

  /// Shares the storage.
  static Array of(Tensor tensor);
  /// Memory of the device, indeterminate.
  static Array empty(DType dtype, Shape shape, Device device);
  /// Borrows from an object with __dlpack__ or the buffer protocol, and keeps it alive. `what`
  /// names it in messages. Throws TypeError for other objects, ShapeError where the elements are
  /// not one after the other.
  static Array from_object(nanobind::handle object, const char* what, bool is_written = false);

  /// The same storage. Throws DeviceError for one on a GPU; `what` names it.
  Tensor tensor(const char* what) const;
  std::int64_t numel() const { return shape_numel(shape); }
};

}  // namespace torchao_cpp::python
