# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME float8_tensor_test SRCS float8/float8_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME float8_config_test SRCS float8/float8_config_test.cpp DEPS workflows LABEL unit PRIVATE_DEPS fmt::fmt)
torchao_cpp_test(NAME float8_sparse_2x4_2d_data_2d_metadata_tensor_test
  SRCS float8/float8_sparse_2x4_2d_data_2d_metadata_tensor_test.cpp DEPS workflows LABEL unit)
