// SPDX-License-Identifier: Apache-2.0
#include "workflows/float8/float8_workflow.h"

#include <array>

#include "workflows/float8/float8_config.h"
#include "workflows/float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.h"
#include "workflows/float8/float8_tensor.h"
#include "workflows/float8/prototype_float8_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 3> kConfigs{
    &kFloat8WeightOnlyConfigType,
    &kFloat8DynamicActivationFloat8WeightConfigType,
    &kFloat8StaticActivationFloat8WeightConfigType,
};
constexpr std::array<const WeightTensorType*, 3> kTensorTypes{
    &kFloat8TensorType, &kPrototypeFloat8TensorType, &kFloat8Sparse2x4_2DData2DMetadataTensorType};

}  // namespace

const Workflow kFloat8Workflow{.name = "float8", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
