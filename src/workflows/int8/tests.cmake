# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME int8_tensor_test SRCS int8/int8_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME int8_config_test SRCS int8/int8_config_test.cpp DEPS workflows LABEL unit)
