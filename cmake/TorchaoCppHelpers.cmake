# SPDX-License-Identifier: Apache-2.0

# Flags every target of ours is compiled with. FP contraction is off: the numerics follow torchao's rounding step by step.
add_library(torchao_cpp_build_flags INTERFACE)
set(cxx_only "$<COMPILE_LANGUAGE:CXX>")
target_compile_options(torchao_cpp_build_flags INTERFACE "$<${cxx_only}:-ffp-contract=off;-fno-math-errno>"
                                                         "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--expt-relaxed-constexpr>")
if(TORCHAO_CPP_DEVELOPER_MODE)
  target_compile_options(torchao_cpp_build_flags INTERFACE "$<${cxx_only}:-Wall;-Wextra;-Werror>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra;--Werror=all-warnings>")
endif()
if(TORCHAO_CPP_SANITIZE)
  target_compile_options(torchao_cpp_build_flags INTERFACE
    "$<${cxx_only}:-fsanitize=${TORCHAO_CPP_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  target_link_options(torchao_cpp_build_flags INTERFACE -fsanitize=${TORCHAO_CPP_SANITIZE})
endif()
if(TORCHAO_CPP_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TORCHAO_CPP_FUZZ needs clang's libFuzzer; the compiler is ${CMAKE_CXX_COMPILER_ID}")
  endif()
  add_custom_target(torchao_cpp_fuzz_targets)
endif()

# torchao_cpp_library(NAME base SRCS a.cpp ... DEPS core ... PRIVATE_DEPS fmt::fmt ...)
# An internal static library torchao_cpp_<NAME> of one src/ folder. DEPS are names of our folders. USED_BY_LLM: models and
# engine call its internal functions, which as shared libraries they can only where those are visible; static libraries have
# them visible too, so that a compiler cache gives one object for both. FUZZED: it reads
# strangers' bytes, or is called with what was read: with TORCHAO_CPP_FUZZ it tells libFuzzer which code was reached.
function(torchao_cpp_library)
  cmake_parse_arguments(ARG "USED_BY_LLM;FUZZED" "NAME" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  set(target torchao_cpp_${ARG_NAME})
  add_library(${target} STATIC ${ARG_SRCS})
  set(visibility hidden)
  if(ARG_USED_BY_LLM)
    set(visibility default)
  endif()
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET ${visibility} VISIBILITY_INLINES_HIDDEN ON
    CUDA_VISIBILITY_PRESET ${visibility}
    INTERPROCEDURAL_OPTIMIZATION ${TORCHAO_CPP_LTO})
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/src)
  list(TRANSFORM ARG_DEPS PREPEND torchao_cpp_)
  target_link_libraries(${target} PUBLIC ${ARG_DEPS}
                                  PRIVATE $<BUILD_INTERFACE:torchao_cpp_build_flags> ${ARG_PRIVATE_DEPS})
  if(TORCHAO_CPP_FUZZ AND ARG_FUZZED)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  set_property(TARGET ${target} PROPERTY TORCHAO_CPP_PRIVATE_DEPS "${ARG_PRIVATE_DEPS}")
endfunction()

# torchao_cpp_test(NAME x_test SRCS x_test.cpp DEPS core ... LABEL unit [PRIVATE_DEPS ...] [SERIAL])
# A GoogleTest program that sees internal headers. TORCHAO_CPP_TEST_DATA points at tests/data. SERIAL: it keeps every core
# busy for long, and beside another such test both would take several times as long.
function(torchao_cpp_test)
  if(NOT TORCHAO_CPP_DEVELOPER_MODE)
    return()
  endif()
  # One label: gtest_discover_tests takes a list apart when it discovers tests late.
  cmake_parse_arguments(ARG "SERIAL" "NAME;LABEL" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  if(NOT ARG_LABEL OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "torchao_cpp_test ${ARG_NAME}: needs one LABEL; not understood: '${ARG_UNPARSED_ARGUMENTS}'")
  endif()
  set(target torchao_cpp_${ARG_NAME})
  add_executable(${target} ${ARG_SRCS})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  list(TRANSFORM ARG_DEPS PREPEND torchao_cpp_)
  target_link_libraries(${target} PRIVATE torchao_cpp_build_flags ${ARG_DEPS} ${ARG_PRIVATE_DEPS} GTest::gtest_main GTest::gmock)
  target_compile_definitions(${target} PRIVATE
    TORCHAO_CPP_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data"
    TORCHAO_CPP_DEMO_MODEL="${PROJECT_SOURCE_DIR}/models/demo")
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  gtest_discover_tests(${target} DISCOVERY_TIMEOUT 60 PROPERTIES LABELS ${ARG_LABEL} RUN_SERIAL ${ARG_SERIAL} DISCOVERY_MODE PRE_TEST)
endfunction()

# torchao_cpp_fuzz_test(NAME config SRCS fuzz_config.cpp ... DEPS selection ... DICTIONARY json.dict SEEDS FOLDER)
# A fuzz target (LLVMFuzzerTestOneInput). In developer mode the test fuzz.NAME runs it over regressions/NAME and FOLDER/NAME
# by the plain main of the object library fuzz_regression_main. With TORCHAO_CPP_FUZZ the same objects also become the
# libFuzzer program fuzz_NAME, with its dictionary beside it; the target torchao_cpp_fuzz_targets builds them all.
function(torchao_cpp_fuzz_test)
  cmake_parse_arguments(ARG "" "NAME;DICTIONARY;SEEDS" "SRCS;DEPS" ${ARGN})
  list(TRANSFORM ARG_DEPS PREPEND torchao_cpp_)
  set(objects fuzz_${ARG_NAME}_objects)
  add_library(${objects} OBJECT ${ARG_SRCS})
  target_include_directories(${objects} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${objects} PUBLIC torchao_cpp_build_flags ${ARG_DEPS} fmt::fmt)
  set(targets "")
  if(TORCHAO_CPP_DEVELOPER_MODE)
    set(target fuzz_${ARG_NAME}_regressions)
    add_executable(${target})
    target_link_libraries(${target} PRIVATE fuzz_regression_main)
    list(APPEND targets ${target})
    add_test(NAME fuzz.${ARG_NAME} COMMAND ${target} ${CMAKE_CURRENT_SOURCE_DIR}/regressions/${ARG_NAME} ${ARG_SEEDS}/${ARG_NAME})
    set_tests_properties(fuzz.${ARG_NAME} PROPERTIES LABELS fuzz FIXTURES_REQUIRED fuzz_seeds TIMEOUT 120)
  endif()
  if(TORCHAO_CPP_FUZZ)
    set(target fuzz_${ARG_NAME})
    add_executable(${target})
    list(APPEND targets ${target})
    target_compile_options(${objects} PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    configure_file(${ARG_DICTIONARY} ${PROJECT_BINARY_DIR}/fuzz/fuzz_${ARG_NAME}.dict COPYONLY)
    add_dependencies(torchao_cpp_fuzz_targets ${target})
  endif()
  foreach(target IN LISTS targets)
    target_link_libraries(${target} PRIVATE ${objects})
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  endforeach()
endfunction()
