# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME uintx_bit_packed_tensor_test SRCS uintx/uintx_bit_packed_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME uintx_config_test SRCS uintx/uintx_config_test.cpp DEPS workflows LABEL unit)
