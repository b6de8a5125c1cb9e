# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES prototype/prototype_config.cpp prototype/prototype_workflow.cpp)
