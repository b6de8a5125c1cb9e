# SPDX-License-Identifier: Apache-2.0
# Installs a finished build into an empty prefix, then builds and runs an outside project against it.
# cmake -DBUILD_DIR=.. -DWORK_DIR=.. -DMODEL_DIR=.. [-DGENERATOR=..] [-DCOMPILER=..] [-DCONFIG_FLAGS=..] -P install_test.cmake
cmake_minimum_required(VERSION 3.24)
foreach(variable BUILD_DIR WORK_DIR MODEL_DIR)
  if(NOT ${variable})
    message(FATAL_ERROR "install_test.cmake needs -D${variable}=")
  endif()
endforeach()
if(NOT GENERATOR)
  set(GENERATOR "Unix Makefiles")
endif()

if(COMPILER)
  set(compiler -DCMAKE_CXX_COMPILER=${COMPILER})
endif()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " text)
    message(FATAL_ERROR "exit ${status}: ${text}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
set(prefix ${WORK_DIR}/prefix)
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
# The package must work from where it is moved to.
file(RENAME ${prefix} ${WORK_DIR}/moved)
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/project -B ${WORK_DIR}/build -G ${GENERATOR} ${compiler}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH=${WORK_DIR}/moved -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF
    "-DCMAKE_CXX_FLAGS=${CONFIG_FLAGS}" "-DCMAKE_EXE_LINKER_FLAGS=${CONFIG_FLAGS}")
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/use_quantization)
run(${WORK_DIR}/build/use_llm ${MODEL_DIR})

# The installed command runs from its place and finds the installed model.
if(EXISTS ${WORK_DIR}/moved/bin/torchao)
  run(${WORK_DIR}/moved/bin/torchao inspect ${WORK_DIR}/moved/share/torchao_cpp/models/demo)
endif()
