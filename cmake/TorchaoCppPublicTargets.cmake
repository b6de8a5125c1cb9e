# SPDX-License-Identifier: Apache-2.0
# What others link: torchao_cpp::torchao_cpp and torchao_cpp::llm, made of the internal libraries of src/.

# torchao_cpp_public_library(TARGET torchao_cpp_llm EXPORT_NAME llm FOLDERS models engine [DEPS torchao_cpp])
#
# Static: an interface over the internal libraries, which are installed with it; nothing but our headers and C++20
# reaches the user's compiler, the rest is for the linker alone.
# Shared: one library made of the internal libraries' objects. Taking objects rather than linking archives keeps an
# upper library from pulling a second copy of the lower one's code and state: what it needs from there must be exported
# there, or the link stops.
function(torchao_cpp_public_library)
  cmake_parse_arguments(ARG "" "TARGET;EXPORT_NAME" "FOLDERS;DEPS" ${ARGN})
  list(TRANSFORM ARG_FOLDERS PREPEND torchao_cpp_ OUTPUT_VARIABLE internal)
  set(installed ${ARG_TARGET})

  if(BUILD_SHARED_LIBS)
    add_library(${ARG_TARGET} SHARED)
    foreach(library IN LISTS internal)
      target_sources(${ARG_TARGET} PRIVATE $<TARGET_OBJECTS:${library}>)
      get_target_property(private_deps ${library} TORCHAO_CPP_PRIVATE_DEPS)
      target_link_libraries(${ARG_TARGET} PRIVATE ${private_deps})
    endforeach()
    target_link_libraries(${ARG_TARGET} PUBLIC ${ARG_DEPS} PRIVATE torchao_cpp_build_flags)
    if(NOT TORCHAO_CPP_SANITIZE)
      target_link_options(${ARG_TARGET} PRIVATE LINKER:--no-undefined)
    endif()
    set_target_properties(${ARG_TARGET} PROPERTIES
      LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} INSTALL_RPATH "$ORIGIN")
    set(scope PUBLIC)
  else()
    add_library(${ARG_TARGET} INTERFACE)
    foreach(library IN LISTS internal)
      target_link_libraries(${ARG_TARGET} INTERFACE $<LINK_ONLY:${library}>)
    endforeach()
    target_link_libraries(${ARG_TARGET} INTERFACE ${ARG_DEPS})
    list(APPEND installed ${internal})
    set(scope INTERFACE)
  endif()

  target_compile_features(${ARG_TARGET} ${scope} cxx_std_20)
  target_include_directories(${ARG_TARGET} ${scope}
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(${ARG_TARGET} PROPERTIES EXPORT_NAME ${ARG_EXPORT_NAME})
  add_library(torchao_cpp::${ARG_EXPORT_NAME} ALIAS ${ARG_TARGET})
  install(TARGETS ${installed} EXPORT torchao_cpp_targets)
endfunction()

# The CMake package: headers, targets, config and version file.
function(torchao_cpp_install_package)
  include(CMakePackageConfigHelpers)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/torchao_cpp)
  set(module_dir ${PROJECT_SOURCE_DIR}/cmake)
  configure_package_config_file(${module_dir}/torchao_cppConfig.cmake.in ${PROJECT_BINARY_DIR}/torchao_cppConfig.cmake
    INSTALL_DESTINATION ${package_dir})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/torchao_cppConfigVersion.cmake COMPATIBILITY SameMajorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/torchao_cppConfig.cmake ${PROJECT_BINARY_DIR}/torchao_cppConfigVersion.cmake
    DESTINATION ${package_dir})
  if(NOT BUILD_SHARED_LIBS)
    install(FILES ${module_dir}/FindOneDNN.cmake DESTINATION ${package_dir})
  endif()
  install(EXPORT torchao_cpp_targets NAMESPACE torchao_cpp:: FILE torchao_cppTargets.cmake DESTINATION ${package_dir})
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/torchao_cpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h")
endfunction()
