// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/uintx_workflow.h"

#include <array>

#include "workflows/uintx/uintx_bit_packed_tensor.h"
#include "workflows/uintx/uintx_config.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 2> kConfigs{
    &kUIntxWeightOnlyConfigType,
    &kInt8DynamicActivationUIntxWeightConfigType,
};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kUIntxBitPackedTensorType};

}  // namespace

const Workflow kUIntxWorkflow{.name = "uintx", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
