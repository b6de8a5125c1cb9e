# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES
  intx/hqq_scale_only.cpp intx/intx_config.cpp intx/intx_unpacked_to_int8_tensor.cpp intx/intx_workflow.cpp)
