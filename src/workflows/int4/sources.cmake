# SPDX-License-Identifier: Apache-2.0
list(APPEND TORCHAO_CPP_WORKFLOW_SOURCES
  int4/int4_choose_qparams.cpp int4/int4_config.cpp int4/int4_dequantize.cpp int4/int4_packing.cpp int4/int4_parts.cpp
  int4/int4_plain_int32_tensor.cpp int4/int4_preshuffled_tensor.cpp int4/int4_tensor.cpp
  int4/int4_tile_packed_to_4d_tensor.cpp int4/int4_workflow.cpp)
