#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the CUDA kernels, tests them against the reference and measures them, on a machine with a GPU.
#   scripts/cuda_check.sh [--no-build] [arguments of bench_cuda_linear]
# CUDA_ARCHITECTURES=80-virtual tests on a newer GPU what older ones run.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --no-build ]; then
  shift
else
  arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
  cmake --preset cuda -DCMAKE_CUDA_ARCHITECTURES="${CUDA_ARCHITECTURES:-${arch/#90/90a}}"  # wgmma is in 90a alone.
  cmake --build build-cuda --parallel --target torchao_cpp_linear_kernels_test \
    torchao_cpp_tile_linears_cuda_test torchao_cpp_activation_cuda_test torchao_cpp_decoder_steps_cuda_test \
    torchao_cpp_norm_steps_cuda_test torchao_cpp_device_weight_cuda_test torchao_cpp_cuda_model_test \
    torchao-conformance bench_cuda_linear
fi
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
for name in linear_kernels tile_linears_cuda activation_cuda decoder_steps_cuda norm_steps_cuda device_weight_cuda \
  cuda_model; do
  build-cuda/tests/torchao_cpp_${name}_test --gtest_brief=1
done
build-cuda/torchao-conformance checkpoints tests/data/checkpoints --device cuda
if [ -n "${GOLDEN_CUDA:-}" ]; then  # The folder of golden_cuda.safetensors.
  build-cuda/torchao-conformance golden_cuda "$GOLDEN_CUDA"
fi
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    compute-sanitizer --tool $tool --error-exitcode 1 build-cuda/tests/torchao_cpp_decoder_steps_cuda_test --gtest_brief=1
  done
  compute-sanitizer --tool memcheck --error-exitcode 1 build-cuda/tests/torchao_cpp_linear_kernels_test \
    --gtest_brief=1 --gtest_filter='*AgreeWithTheReferenceOnAGpu/int4wo:*AgreeWithTheReference/fp8dq_row:Large*'
fi
build-cuda/bench/bench_cuda_linear "$@"
