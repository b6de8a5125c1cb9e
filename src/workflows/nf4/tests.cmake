# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME nf4_tensor_test SRCS nf4/nf4_tensor_test.cpp DEPS workflows LABEL unit)
