// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/linear.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp {

LoadedWeight loaded_weight_from_parts(const TensorParts& parts, std::string_view fqn) {
  return {Tensor{}, weight_from_parts(parts, fqn)};
}

}  // namespace torchao_cpp
