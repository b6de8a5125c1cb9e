// SPDX-License-Identifier: Apache-2.0
#include "workflows/intx/intx_workflow.h"

#include <array>

#include "workflows/intx/intx_config.h"
#include "workflows/intx/intx_unpacked_to_int8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 2> kConfigs{
    &kIntxWeightOnlyConfigType,
    &kInt8DynamicActivationIntxWeightConfigType,
};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kIntxUnpackedToInt8TensorType};

}  // namespace

const Workflow kIntxWorkflow{.name = "intx", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
