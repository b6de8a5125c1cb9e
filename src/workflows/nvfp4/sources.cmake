# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES nvfp4/nvfp4_config.cpp nvfp4/nvfp4_tensor.cpp nvfp4/nvfp4_workflow.cpp)
