// SPDX-License-Identifier: Apache-2.0
#include "workflows/nf4/nf4_workflow.h"

#include <array>

#include "workflows/nf4/nf4_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kNF4TensorType};

}  // namespace

const Workflow kNf4Workflow{.name = "nf4", .configs = {}, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
