# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME nvfp4_tensor_test SRCS nvfp4/nvfp4_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME nvfp4_config_test SRCS nvfp4/nvfp4_config_test.cpp DEPS workflows LABEL unit)
