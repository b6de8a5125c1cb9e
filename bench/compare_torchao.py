#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One linear on a CPU: torchao.cpp beside PyTorch with torchao and beside oneDNN as PyTorch calls it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.13.0 torchao==0.18.0
    /tmp/venv/bin/python bench/compare_torchao.py --shapes 4096x4096 --configs plain int8wo int8dq --m 1 4 16 64 512

Microseconds, medians. Weight after weight: few rows go through --rotation-mib of distinct weights in turn, so that no
cache holds them. 'eager' and 'compiled' are torchao's (of 'plain': PyTorch's bfloat16 linear, which is oneDNN's);
'onednn' is oneDNN's int8 product with quantized activations (of int8dq, 'plain' has no other). What fails there says why.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

FEW_ROWS = 16
CONFIGS = ["plain", "int8wo", "int8dq", "fp8wo", "8da4w", "intx4wo-32", "int4wo-128"]


def torchao_config(name):
    import torchao.quantization as q

    configs = {
        "int8wo": lambda: q.Int8WeightOnlyConfig(),
        "int8dq": lambda: q.Int8DynamicActivationInt8WeightConfig(),
        # The one form of it that runs on a CPU.
        "int4wo-128": lambda: q.Int4WeightOnlyConfig(group_size=128, int4_packing_format="opaque"),
        "fp8wo": lambda: q.Float8WeightOnlyConfig(),
        "fp8dq-row": lambda: q.Float8DynamicActivationFloat8WeightConfig(granularity=q.PerRow()),
        "8da4w": lambda: q.Int8DynamicActivationIntxWeightConfig(
            weight_dtype=__import__("torch").int4, weight_granularity=q.PerGroup(32)
        ),
    }
    if name.startswith("intx"):
        import torch

        bits, group = name[4:].split("wo-")
        return q.IntxWeightOnlyConfig(
            weight_dtype=getattr(torch, f"int{bits}"), granularity=q.PerGroup(int(group))
        )
    return configs[name]()


def median_us(run, weights, seconds):
    run(weights[0])
    times, start, i = [], time.perf_counter(), 0
    while len(times) < 5 or (time.perf_counter() - start < seconds and len(times) < 2000):
        begin = time.perf_counter()
        run(weights[i % len(weights)])
        times.append(time.perf_counter() - begin)
        i += 1
    return 1e6 * statistics.median(times)


def torch_times(shape, config, rows, options):
    """{way: {m: microseconds or the reason there are none}}"""
    import torch

    torch.set_num_threads(options.threads)
    n, k = shape
    count = max(1, min(64, options.rotation_mib * 2**20 // (n * k * (2 if config == "plain" else 1))))
    count = count if min(rows) <= FEW_ROWS else 1
    out = {}
    with torch.no_grad():
        try:
            linears = []
            for i in range(count):
                linear = torch.nn.Linear(k, n, bias=False, dtype=torch.bfloat16)
                if config != "plain":
                    from torchao.quantization import quantize_

                    quantize_(linear, torchao_config(config))
                linears.append(linear)
        except Exception as error:  # Whatever torchao raises is the result.
            reason = str(error).split("\n")[0]
            return {"eager": {m: reason for m in rows}}
        x = {m: torch.randn(m, k, dtype=torch.bfloat16) for m in rows}
        for way in ("eager", "compiled") if options.compile else ("eager",):
            out[way] = {}
            for m in rows:
                try:
                    apply = lambda linear, v: linear(v)
                    if way == "compiled":
                        torch._dynamo.reset()
                        apply = torch.compile(lambda linear, v: torch.nn.functional.linear(v, linear.weight))
                    some = linears if m <= FEW_ROWS else linears[:1]
                    out[way][m] = median_us(lambda linear: apply(linear, x[m]), some, options.seconds)
                except Exception as error:
                    out[way][m] = str(error).split("\n")[0]
        if config == "int8dq":
            out["onednn"] = {m: onednn_int8(n, k, m, count if m <= FEW_ROWS else 1, options) for m in rows}
    return out


def onednn_int8(n, k, m, count, options):
    import torch

    x = torch.randint(0, 255, (m, k), dtype=torch.uint8)
    weights = []
    for _ in range(count):
        w = torch.randint(-127, 127, (n, k), dtype=torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(w, [m, k])
        weights.append(packed)
    scale, zero = torch.full((n,), 0.01), torch.zeros(n, dtype=torch.int64)

    def run(w):
        return torch.ops.onednn.qlinear_pointwise(
            x, 0.02, 128, w, scale, zero, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )

    try:
        return median_us(run, weights, options.seconds)
    except Exception as error:
        return str(error).split("\n")[0]


def our_times(shape, config, rows, options):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [options.torchao, "bench", "linear", "--shapes", "{}x{}".format(*shape), "--configs", config]
        command += ["--m", ",".join(map(str, rows)), "--threads", str(options.threads), "--json", file.name]
        command += ["--seconds", str(options.seconds), "--rotation-mib", str(options.rotation_mib)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        measured = json.load(open(file.name))["linears"]
    return {line["m"]: line["problem"] or line["seconds"] * 1e6 for line in measured}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--torchao", default=os.path.join(here, "../build/bin/torchao"), help="the command torchao")
    parser.add_argument("--shapes", nargs="+", default=["4096x4096"], help="N x K")
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--m", nargs="+", type=int, default=[1, 4, 16, 64, 512])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    parser.add_argument("--rotation-mib", type=int, default=512)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too (minutes)")
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()

    lines = []
    print(f"{'N x K':<12}{'config':<14}{'M':>5}{'ours':>10}  others, us (times ours)")
    for text in options.shapes:
        shape = tuple(int(v) for v in text.split("x"))
        for config in options.configs:
            ours = our_times(shape, config, options.m, options)
            others = torch_times(shape, config, options.m, options)
            for m in options.m:
                cells = []
                for way, times in others.items():
                    t = times[m]
                    cells.append(f"{way} {t:.0f} ({t / ours[m]:.2f}x)" if isinstance(t, float) else f"{way}: {t[:60]}")
                print(f"{text:<12}{config:<14}{m:>5}{ours[m]:>10.0f}  {'  '.join(cells)}", flush=True)
                peers = {way: times[m] for way, times in others.items()}
                lines.append({"shape": shape, "config": config, "m": m, "ours_us": ours[m], "others_us": peers})
    if options.json:
        with open(options.json, "w") as file:
            json.dump(lines, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
