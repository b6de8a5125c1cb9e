#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A virtual environment with the engines of bench/compare_engines.py: OpenVINO (with optimum-intel, which converts a model
# folder to its form) and llama.cpp, built from the source in the package llama-cpp-python for this machine's processor,
# without AMX. About 8 GB with the torch that optimum-intel needs, none of it in this repository; minutes of compiling.
#
#   scripts/engines_venv.sh DIR     # DIR is made; the interpreter is $PYTHON, python3.12 by default
set -euo pipefail

openvino_version=2026.4.1
optimum_intel_version=2.2.0
llama_cpp_version=0.3.36
gguf_version=0.19.0

if [ $# -ne 1 ]; then
  echo "usage: scripts/engines_venv.sh DIR" >&2
  exit 2
fi
venv=$1
"${PYTHON:-python3.12}" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

"${pip[@]}" install "openvino==$openvino_version" "openvino-genai==$openvino_version.0" \
  "optimum-intel==$optimum_intel_version" nncf "gguf==$gguf_version"

no_amx="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DCMAKE_C_FLAGS='$no_amx' -DCMAKE_CXX_FLAGS='$no_amx'" \
CMAKE_BUILD_PARALLEL_LEVEL=${JOBS:-$(nproc)} \
  "${pip[@]}" install --no-binary llama-cpp-python "llama-cpp-python==$llama_cpp_version"
"$venv/bin/python" -c 'import importlib.metadata as m; print(*(n + " " + m.version(n) for n in ("openvino", "llama-cpp-python")))'
