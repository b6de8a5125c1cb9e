// SPDX-License-Identifier: Apache-2.0
#include "workflows/prototype/prototype_workflow.h"

#include <array>

#include "workflows/prototype/prototype_config.h"
#include "workflows/prototype/uintx_bit_packed_tensor.h"
#include "workflows/prototype/uintx_config.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 8> kConfigs{
    &kAWQConfigType,
    &kSmoothQuantConfigType,
    &kUIntxWeightOnlyConfigType,
    &kInt8DynamicActivationUIntxWeightConfigType,
    &kGGUFWeightOnlyConfigType,
    &kStretchedIntxWeightConfigType,
    &kBlockSparseWeightConfigType,
    &kSemiSparseWeightConfigType,
};
constexpr std::array<const WeightTensorType*, 1> kTensorTypes{&kUIntxBitPackedTensorType};

}  // namespace

const Workflow kPrototypeWorkflow{
    .name = "prototype", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
