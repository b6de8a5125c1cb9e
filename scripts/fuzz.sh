#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the fuzz targets with clang (preset asan) and runs each for a while; exits 1 when any finds something.
#
# usage: scripts/fuzz.sh [MINUTES] [TARGET...]     MINUTES for each target, fractions allowed, default 1
#        e.g. scripts/fuzz.sh 0.5 config tokenizer
#
# BUILD=FOLDER  build folder, default build-asan     DEPS=no  leaves the system's packages alone
# JOBS=N        targets at once, default all cores   FUZZ_TIMEOUT=S, FUZZ_RSS_MB=N  limits of one input
#
# The corpus grows in BUILD/fuzz/corpus; inputs that break something stay in BUILD/fuzz/findings. To keep one fixed, put it
# into tests/fuzz/regressions/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=1
if [[ ${1:-} =~ ^[0-9]*\.?[0-9]+$ ]]; then
  minutes=$1
  shift
elif [[ ${1:-} == -* ]]; then
  sed -n '3,13s/^# \{0,1\}//p' "$0"
  exit 2
fi
seconds=$(awk -v m="$minutes" 'BEGIN { s = int(m * 60 + 0.5); print (s > 0 ? s : 1) }')
build=$(realpath -m "${BUILD:-build-asan}")
jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}
source_dir=$PWD/tests/fuzz

[ "${DEPS:-yes}" = no ] || scripts/install_dependencies.sh --clang
if ! command -v clang++ >/dev/null; then
  echo "fuzz: there is no clang++; on Debian: apt-get install clang libclang-rt-dev libomp-dev" >&2
  exit 1
fi

launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
cmake --preset asan -B "$build" "${launcher[@]}"
cmake --build "$build" --parallel "$(nproc 2>/dev/null || echo 2)" --target torchao_cpp_fuzz_targets

known=()
for dictionary in "$build"/fuzz/fuzz_*.dict; do
  name=$(basename "$dictionary" .dict)
  known+=("${name#fuzz_}")
done
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=("${known[@]}")
for target in "${targets[@]}"; do
  if [ ! -x "$build/fuzz/fuzz_$target" ]; then
    echo "fuzz: there is no target '$target'; targets: ${known[*]}" >&2
    exit 2
  fi
done

# One thread: the inputs are small, and what happens must not depend on the machine.
export TORCHAO_CPP_NUM_THREADS=1 OMP_NUM_THREADS=1
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
python3 "$source_dir/collect_seeds.py" "$build/fuzz/seeds"
mkdir -p "$build/fuzz/logs"

run_target() {
  local target=$1 folders=("$build/fuzz/corpus/$1") folder status=0
  mkdir -p "${folders[0]}" "$build/fuzz/findings/$target"
  for folder in "$source_dir/regressions/$target" "$build/fuzz/seeds/$target"; do
    if [ -d "$folder" ]; then folders+=("$folder"); fi
  done
  "$build/fuzz/fuzz_$target" "${folders[@]}" -dict="$build/fuzz/fuzz_$target.dict" -max_total_time="$seconds" \
    -timeout="${FUZZ_TIMEOUT:-10}" -rss_limit_mb="${FUZZ_RSS_MB:-1024}" -max_len=16384 -print_final_stats=1 \
    -artifact_prefix="$build/fuzz/findings/$target/" >"$build/fuzz/logs/$target.log" 2>&1 || status=$?
  echo "$status" >"$build/fuzz/logs/$target.status"
}

echo "fuzz: ${#targets[@]} targets, $seconds s each, $jobs at once"
running=0
for target in "${targets[@]}"; do
  if [ "$running" -ge "$jobs" ]; then
    wait -n
    running=$((running - 1))
  fi
  run_target "$target" &
  running=$((running + 1))
done
wait

last() { grep -oE "$2" "$build/fuzz/logs/$1.log" | tail -1 | grep -oE '[0-9]+' || echo -; }
findings=0
printf '\n%-20s %12s %9s %9s  %s\n' target runs exec/s coverage finding
for target in "${targets[@]}"; do
  log=$build/fuzz/logs/$target.log
  finding=none
  if [ "$(cat "$build/fuzz/logs/$target.status")" != 0 ]; then
    findings=$((findings + 1))
    finding=$(grep -oE "Test unit written to .*" "$log" | tail -1 | sed 's/Test unit written to //' || true)
    finding=${finding:-see $log}
  fi
  printf '%-20s %12s %9s %9s  %s\n' "$target" "$(last "$target" 'number_of_executed_units: +[0-9]+')" \
    "$(last "$target" 'average_exec_per_sec: +[0-9]+')" "$(last "$target" 'cov: [0-9]+')" "$finding"
done
for target in "${targets[@]}"; do
  [ "$(cat "$build/fuzz/logs/$target.status")" != 0 ] || continue
  printf '\n-------- %s: %s\n' "$target" "$build/fuzz/logs/$target.log"
  grep -E "^broken:|ERROR: |runtime error|SUMMARY: |terminate called|what\(\)|^ *#[0-9]+ .*torchao_cpp" "$build/fuzz/logs/$target.log" | head -30 || true
done
printf '\nfuzz: %d findings\n' "$findings"
[ "$findings" -eq 0 ]
