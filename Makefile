# SPDX-License-Identifier: Apache-2.0
# A thin front to CMake: the presets in CMakePresets.json hold the settings.
SHELL := /bin/bash
.DEFAULT_GOAL := help

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local
# "make build DEPS=no" leaves the system's packages alone.
DEPS ?= yes
# A compiler cache is used where it is installed.
CCACHE := $(shell command -v ccache 2>/dev/null)
LAUNCHER := $(if $(CCACHE),-DCMAKE_CXX_COMPILER_LAUNCHER=$(CCACHE),)
ASAN_ENV := ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
CTEST := ctest --output-on-failure --parallel $(JOBS) --no-tests=error
QEMU_CTEST := TORCHAO_CPP_NUM_THREADS=1 $(CTEST) --test-dir build-aarch64

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps:  ## Install missing Debian packages (root or sudo)
ifeq ($(DEPS),yes)
	@scripts/install_dependencies.sh
endif

.PHONY: configure
configure: deps
	cmake --preset release $(LAUNCHER)

.PHONY: build
build: configure  ## Install packages, then build everything (release) in build/
	cmake --build --preset release --parallel $(JOBS)

.PHONY: test
test: build  ## Build, then run every test
	$(CTEST) --test-dir build

.PHONY: demo
demo: configure  ## Build the command and show it on the demo model
	cmake --build --preset release --parallel $(JOBS) --target torchao
	scripts/demo.sh build

.PHONY: asan
asan:  ## Build with clang and test under the address and undefined-behaviour sanitizers (build-asan/)
ifeq ($(DEPS),yes)
	@scripts/install_dependencies.sh --clang
endif
	cmake --preset asan $(LAUNCHER)
	cmake --build --preset asan --parallel $(JOBS)
	$(ASAN_ENV) $(CTEST) --test-dir build-asan

.PHONY: aarch64
aarch64:  ## Cross-build the kernels for 64-bit Arm and run their tests in QEMU (build-aarch64/)
ifeq ($(DEPS),yes)
	@scripts/install_dependencies.sh --aarch64
endif
	cmake --preset aarch64 $(LAUNCHER)
	cmake --build --preset aarch64 --parallel $(JOBS)
	QEMU_CPU=max TORCHAO_CPP_TEST_EXPECTED_ISA=neon_i8mm $(QEMU_CTEST) -R 'LinearKernel|Int8Product|CpuFeatures|check_isa_objects$$'
	QEMU_CPU=cortex-a76 TORCHAO_CPP_TEST_EXPECTED_ISA=neon_dotprod $(QEMU_CTEST) -R 'Int8Product|CpuFeatures'
	QEMU_CPU=cortex-a53 TORCHAO_CPP_TEST_EXPECTED_ISA=neon $(QEMU_CTEST) -R \
	  'AgreeWithTheReference.*= (plain|int8wo|int4wo|intx3wo_asymmetric|nf4|fp8wo|mxfp4|int8dq)$$|Int8Product|CpuFeatures'

.PHONY: fuzz
fuzz:  ## Build the fuzz targets with clang and run each MINUTES (default 1) (build-asan/)
	DEPS=$(DEPS) scripts/fuzz.sh $(or $(MINUTES),1) $(TARGETS)

.PHONY: install
install: build  ## Install to PREFIX (default /usr/local)
	cmake --install build --prefix $(PREFIX)

.PHONY: bench
bench: configure  ## Time linears beside the machine's limits (ARGS: options of torchao bench linear)
	cmake --build --preset release --parallel $(JOBS) --target torchao
	build/bin/torchao bench linear $(ARGS)

.PHONY: format
format:  ## Format the sources in place with clang-format
	git ls-files --cached --others --exclude-standard '*.cpp' '*.h' | xargs -r clang-format -i

.PHONY: clean
clean:  ## Remove the build folders
	rm -rf build build-aarch64 build-asan build-cuda build-debug build-shared build-tsan python/build
