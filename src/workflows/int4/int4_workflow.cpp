// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_workflow.h"

#include <array>

#include "workflows/int4/int4_config.h"
#include "workflows/int4/int4_plain_int32_tensor.h"
#include "workflows/int4/int4_preshuffled_tensor.h"
#include "workflows/int4/int4_tensor.h"
#include "workflows/int4/int4_tile_packed_to_4d_tensor.h"

namespace torchao_cpp {
namespace {

constexpr std::array<const ConfigType*, 2> kConfigs{
    &kInt4WeightOnlyConfigType,
    &kFloat8DynamicActivationInt4WeightConfigType,
};
constexpr std::array<const WeightTensorType*, 4> kTensorTypes{
    &kInt4TensorType,
    &kInt4TilePackedTo4dTensorType,
    &kInt4PlainInt32TensorType,
    &kInt4PreshuffledTensorType,
};

}  // namespace

const Workflow kInt4Workflow{.name = "int4", .configs = kConfigs, .tensor_types = kTensorTypes};

}  // namespace torchao_cpp
