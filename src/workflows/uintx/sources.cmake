# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES
  uintx/gemlite_packing.cpp uintx/uintx_bit_packed_tensor.cpp uintx/uintx_config.cpp uintx/uintx_workflow.cpp)
