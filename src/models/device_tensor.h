// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "torchao_cpp/tensor.h"

/// Tensors in a GPU's memory, of which nobody on the host reads or writes elements.
namespace torchao_cpp {

/// Indeterminate contents. Throws DeviceError where a GPU has too little memory.
Tensor empty_on(Device device, DType dtype, Shape shape);
/// Zeros on the CPU; on a GPU indeterminate, since its kernels read nothing that was not written.
Tensor zeros_on(Device device, DType dtype, Shape shape);
/// The tensor itself on the CPU, a copy on a GPU. An undefined one stays so.
Tensor moved_to(Device device, const Tensor& host);

}  // namespace torchao_cpp
