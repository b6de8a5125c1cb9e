# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME prototype_config_test SRCS prototype/prototype_config_test.cpp DEPS workflows LABEL unit)
