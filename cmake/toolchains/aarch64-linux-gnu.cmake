# SPDX-License-Identifier: Apache-2.0
# Builds for 64-bit Arm with Debian's cross compiler and runs the programs in QEMU. "scripts/install_dependencies.sh
# --aarch64" installs both and puts the libraries where TORCHAO_CPP_SYSROOT points. QEMU's CPU has every instruction set;
# QEMU_CPU=cortex-a53 in the environment of the tests is one without dot products and matrix products.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(triple aarch64-linux-gnu)
set(CMAKE_CXX_COMPILER ${triple}-g++)
set(TORCHAO_CPP_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../../build-aarch64/sysroot CACHE PATH "Libraries for aarch64")
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES TORCHAO_CPP_SYSROOT)  # Checks read this file too.

get_filename_component(sysroot ${TORCHAO_CPP_SYSROOT} REALPATH)
set(CMAKE_LIBRARY_ARCHITECTURE ${triple})
set(CMAKE_PREFIX_PATH ${sysroot}/usr)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sysroot})
set(ENV{PKG_CONFIG_LIBDIR} ${sysroot}/usr/lib/${triple}/pkgconfig)
# The C and C++ libraries are the cross compiler's.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/${triple})
