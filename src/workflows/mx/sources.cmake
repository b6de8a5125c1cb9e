# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES mx/mx_config.cpp mx/mx_tensor.cpp mx/mx_workflow.cpp)
