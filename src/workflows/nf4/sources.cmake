# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES nf4/nf4_quant.cpp nf4/nf4_tensor.cpp nf4/nf4_workflow.cpp)
