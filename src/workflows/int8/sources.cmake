# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES int8/int8_config.cpp int8/int8_tensor.cpp int8/int8_workflow.cpp)
