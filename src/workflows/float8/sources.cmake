# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES
  float8/float8_config.cpp float8/float8_data.cpp
  float8/float8_sparse_2x4_2d_data_2d_metadata_tensor.cpp float8/float8_tensor.cpp float8/float8_workflow.cpp
  float8/prototype_float8_tensor.cpp)
