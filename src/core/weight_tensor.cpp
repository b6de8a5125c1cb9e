// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

Tensor TensorParts::find(std::string_view name) const {
  for (const auto& [part_name, tensor] : parts) {
    if (part_name == name) return tensor;
  }
  return {};
}

std::int64_t WeightTensor::nbytes() const {
  std::int64_t total = 0;
  for (const auto& [name, tensor] : to_parts().parts) total += tensor.nbytes();
  return total;
}

}  // namespace torchao_cpp
