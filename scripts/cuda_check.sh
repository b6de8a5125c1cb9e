#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the CUDA kernels, tests them against the reference and measures them, on a machine with a GPU.
#   scripts/cuda_check.sh [--no-build] [arguments of bench_cuda_linear]
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --no-build ]; then
  shift
else
  cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES="${CUDA_ARCHITECTURES:-native}"
  cmake --build build-cuda --parallel --target torchao_cpp_linear_kernels_test bench_cuda_linear
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
build-cuda/tests/torchao_cpp_linear_kernels_test --gtest_brief=1
if command -v compute-sanitizer >/dev/null; then
  compute-sanitizer --tool memcheck --error-exitcode 1 build-cuda/tests/torchao_cpp_linear_kernels_test \
    --gtest_brief=1 --gtest_filter='*AgreeWithTheReferenceOnAGpu/int4wo:*AgreeWithTheReference/fp8dq_row'
fi
build-cuda/bench/bench_cuda_linear "$@"
