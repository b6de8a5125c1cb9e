// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"
#include "workflows/workflow_list.h"

namespace torchao_cpp {

LoadedWeight loaded_weight_from_parts(const TensorParts& parts, std::string_view fqn) {
  return {Tensor{}, weight_from_parts(parts, fqn)};
}

bool is_safetensors_serializable(std::string_view class_name) noexcept {
  const WeightTensorType* type = find_weight_tensor_type(class_name);
  return type != nullptr && type->safetensors_serializable;
}

}  // namespace torchao_cpp
