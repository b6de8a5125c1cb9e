// SPDX-License-Identifier: Apache-2.0
#include "workflows/prototype/prototype_workflow.h"

#include <array>

#include "workflows/prototype/prototype_config.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 6> kConfigs{
    &kAWQConfigType,
    &kSmoothQuantConfigType,
    &kGGUFWeightOnlyConfigType,
    &kStretchedIntxWeightConfigType,
    &kBlockSparseWeightConfigType,
    &kSemiSparseWeightConfigType,
};

}  // namespace

const Workflow kPrototypeWorkflow{.name = "prototype", .configs = kConfigs, .tensor_types = {}};

}  // namespace torchao_cpp
