# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES
  prototype/gemlite_packing.cpp prototype/prototype_config.cpp prototype/prototype_workflow.cpp
  prototype/uintx_bit_packed_tensor.cpp prototype/uintx_config.cpp)
