// SPDX-License-Identifier: Apache-2.0
#include "workflows/nvfp4/nvfp4_workflow.h"

#include <array>

#include "workflows/nvfp4/nvfp4_config.h"
#include "workflows/nvfp4/nvfp4_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 2> kConfigs{
    &kNVFP4DynamicActivationNVFP4WeightConfigType,
    &kNVFP4WeightOnlyConfigType,
};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kNVFP4TensorType};

}  // namespace

const Workflow kNvfp4Workflow{.name = "nvfp4", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
