#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows torchao.cpp on the demo model: what is decided, how size and perplexity compare, and text from int8 and int4.
# Usage: scripts/demo.sh BUILD_FOLDER
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
torchao=${1:-$root/build}/bin/torchao
[[ $torchao = /* ]] || torchao=$PWD/$torchao
model=$root/models/demo
windows=${DEMO_WINDOWS:-8}
[ -x "$torchao" ] || { echo "demo: $torchao is not built; run 'make demo'" >&2; exit 1; }

bold='' dim='' off=''
if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' off=$'\e[0m'; fi
title() { printf '\n%s== %s ==%s\n' "$bold" "$1" "$off"; }
command_line() { printf '%s$ torchao %s%s\n' "$dim" "$*" "$off"; }

# number KEY: the value of a top-level number in the JSON on standard input.
number() { sed -n "s/^  \"$1\": \([-+.e0-9]*\),\{0,1\}$/\1/p"; }
# layer_bytes: the bytes of all linears but the output head in the JSON of `explain`.
layer_bytes() { awk -F'[:,]' '/"fqn"/ { head = /lm_head/ } /"weight_bytes"/ && !head { sum += $2 } END { print sum }'; }

title "The model: $(sed -n 's/.*"model_type": "\(.*\)".*/\1/p' "$model/config.json"), in models/demo"
command_line inspect models/demo --short
"$torchao" inspect "$model" --short

title "What int8wo does to each linear, and why"
command_line explain models/demo --quantization int8wo --short
"$torchao" explain "$model" --quantization int8wo --short

title "Size and perplexity ($windows windows of 512 tokens of models/demo/heldout_text.txt, computed in bf16)"
printf '%-10s %14s %12s %12s %12s   %s\n' config 'layer linears' bits/weight 'all weights' perplexity 'size of the linears'
plain=0
for config in bf16 int8wo int4wo-32; do
  quantization=()
  [ $config = bf16 ] || quantization=(--quantization "$config")
  # The output head shares the embedding's memory and stays as it is.
  bytes=$("$torchao" explain "$model" --dtype bf16 "${quantization[@]}" --json | layer_bytes)
  [ $config = bf16 ] && plain=$bytes
  json=$("$torchao" perplexity "$model" --text "$model/heldout_text.txt" --max-windows "$windows" --dtype bf16 "${quantization[@]}" --json)
  awk -v config=$config -v bytes="$bytes" -v plain="$plain" -v all="$(number weight_bytes <<<"$json")" \
      -v perplexity="$(number perplexity <<<"$json")" 'BEGIN {
        printf "%-10s %10.2f MiB %12.2f %8.2f MiB %12.3f   ", config, bytes / 1048576, 16 * bytes / plain, all / 1048576, perplexity
        for (i = 0; i < int(30 * bytes / plain + 0.5); i++) printf "#"
        print ""
      }'
done

for config in int8wo int4wo-32; do
  title "Text from $config"
  command_line generate models/demo --quantization $config --prompt "'The Linux kernel is'" --max-new-tokens 80 --temperature 0.8 --top-k 40 --top-p 0.95
  printf '%sThe Linux kernel is%s' "$bold" "$off"
  "$torchao" generate "$model" --quantization $config --prompt "The Linux kernel is" --max-new-tokens 80 --temperature 0.8 --top-k 40 --top-p 0.95
done
