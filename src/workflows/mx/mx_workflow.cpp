// SPDX-License-Identifier: Apache-2.0
#include "workflows/mx/mx_workflow.h"

#include <array>

#include "workflows/mx/mx_config.h"
#include "workflows/mx/mx_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 1> kConfigs{&kMXDynamicActivationMXWeightConfigType};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kMXTensorType};

}  // namespace

const Workflow kMxWorkflow{.name = "mx", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
