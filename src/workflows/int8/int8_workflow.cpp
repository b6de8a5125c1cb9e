// SPDX-License-Identifier: Apache-2.0
#include "workflows/int8/int8_workflow.h"

#include <array>

#include "workflows/int8/int8_config.h"
#include "workflows/int8/int8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 3> kConfigs{
    &kInt8WeightOnlyConfigType,
    &kInt8DynamicActivationInt8WeightConfigType,
    &kInt8StaticActivationInt8WeightConfigType,
};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kInt8TensorType};

}  // namespace

const Workflow kInt8Workflow{.name = "int8", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
