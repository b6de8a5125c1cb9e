# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME intx_unpacked_to_int8_tensor_test SRCS intx/intx_unpacked_to_int8_tensor_test.cpp
                 DEPS workflows LABEL unit)
torchao_cpp_test(NAME intx_config_test SRCS intx/intx_config_test.cpp DEPS workflows LABEL unit)
