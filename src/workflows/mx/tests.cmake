# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME mx_tensor_test SRCS mx/mx_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME mx_config_test SRCS mx/mx_config_test.cpp DEPS workflows LABEL unit)
