// SPDX-License-Identifier: Apache-2.0
#include "workflows/workflow_list.h"

#include <array>

#include "workflows/float8/float8_workflow.h"
#include "workflows/int4/int4_workflow.h"
#include "workflows/int8/int8_workflow.h"
#include "workflows/intx/intx_workflow.h"
#include "workflows/mx/mx_workflow.h"
#include "workflows/nf4/nf4_workflow.h"
#include "workflows/nvfp4/nvfp4_workflow.h"
#include "workflows/prototype/prototype_workflow.h"
#include "workflows/uintx/uintx_workflow.h"

namespace torchao_cpp {
namespace {

constexpr auto kWorkflows = std::to_array<const Workflow*>({
    &kInt4Workflow,
    &kInt8Workflow,
    &kIntxWorkflow,
    &kFloat8Workflow,
    &kMxWorkflow,
    &kNvfp4Workflow,
    &kNf4Workflow,
    &kUIntxWorkflow,
    &kPrototypeWorkflow,
});

}  // namespace

std::span<const Workflow* const> workflow_list() noexcept { return kWorkflows; }

const WeightTensorType* find_weight_tensor_type(std::string_view class_name) noexcept {
  for (const Workflow* workflow : kWorkflows) {
    for (const WeightTensorType* type : workflow->tensor_types) {
      if (type->class_name == class_name) return type;
    }
  }
  return nullptr;
}

}  // namespace torchao_cpp
