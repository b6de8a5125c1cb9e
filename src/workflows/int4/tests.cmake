# SPDX-License-Identifier: Apache-2.0
torchao_cpp_test(NAME int4_packing_test SRCS int4/int4_packing_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME int4_tensor_test SRCS int4/int4_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME int4_tile_packed_to_4d_tensor_test SRCS int4/int4_tile_packed_to_4d_tensor_test.cpp
                 DEPS workflows LABEL unit)
torchao_cpp_test(NAME int4_plain_int32_tensor_test SRCS int4/int4_plain_int32_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME int4_preshuffled_tensor_test SRCS int4/int4_preshuffled_tensor_test.cpp DEPS workflows LABEL unit)
torchao_cpp_test(NAME int4_config_test SRCS int4/int4_config_test.cpp DEPS workflows LABEL unit)
