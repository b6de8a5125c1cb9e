#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One linear on a CPU: torchao.cpp beside PyTorch with torchao and beside oneDNN as PyTorch calls it.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch==2.13.0 torchao==0.18.0
    /tmp/venv/bin/python bench/compare_torchao.py --shapes 4096x4096 --configs plain int8wo int8dq --m 1 4 16 64 512

Microseconds, medians; ours and theirs take turns. Weight after weight: few rows go through --rotation-mib of distinct
weights in turn, so that no cache holds them. 'eager' and 'compiled' are torchao's (of 'plain': PyTorch's bfloat16 linear,
which is oneDNN's), 'prototype' those of torchao.prototype.quantization.int4, whose int4 has kernels for x86-64;
'onednn' is oneDNN's int8 product, which is given quantized activations: ours and torchao's int8dq quantize them. What
fails there says why.
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


def torchao_configs(name):
    """{"": torchao's config, "prototype ": one of its prototypes with kernels for this CPU}; not every name has both."""
    import torch
    import torchao.prototype.quantization.int4 as prototype
    import torchao.quantization as q

    if name.startswith("intx"):
        bits, group = name[4:].split("wo-")
        dtype = getattr(torch, f"int{bits}")
        return {"": q.IntxWeightOnlyConfig(weight_dtype=dtype, granularity=q.PerGroup(int(group)))}
    return {
        "int8wo": lambda: {"": q.Int8WeightOnlyConfig()},
        "int8dq": lambda: {"": q.Int8DynamicActivationInt8WeightConfig()},
        "int4wo-128": lambda: {"prototype ": prototype.PrototypeInt4WeightOnlyConfig(group_size=128)},
        "fp8wo": lambda: {"": q.Float8WeightOnlyConfig()},
        "fp8dq-row": lambda: {"": q.Float8DynamicActivationFloat8WeightConfig(granularity=q.PerRow())},
        "8da4w": lambda: {
            "": q.Int8DynamicActivationIntxWeightConfig(
                weight_dtype=torch.int4, weight_granularity=q.PerGroup(32)
            ),
            "prototype ": prototype.Int8DynamicActivationInt4WeightConfig(group_size=32),
        },
    }[name]()


def median_us(run, weights, seconds):
    run(weights[0])
    times, start, i = [], time.perf_counter(), 0
    while len(times) < 5 or (time.perf_counter() - start < seconds and len(times) < 2000):
        begin = time.perf_counter()
        run(weights[i % len(weights)])
        times.append(time.perf_counter() - begin)
        i += 1
    return 1e6 * statistics.median(times)


def linears_of(shape, config, count):
    """`count` linears, quantized unless config is None."""
    import torch
    from torchao.quantization import quantize_

    n, k = shape
    linears = [torch.nn.Linear(k, n, bias=False, dtype=torch.bfloat16) for _ in range(count)]
    if config is not None:
        for linear in linears:
            quantize_(linear, config)
    return linears


def torch_ways(shape, config, rows, options):
    """{way: {m: a function that gives microseconds, or the reason there is none}}; torch.compile runs here."""
    import torch

    n, k = shape
    count = max(1, min(64, options.rotation_mib * 2**20 // (n * k * (2 if config == "plain" else 1))))
    count = count if min(rows) <= FEW_ROWS else 1

    def timed(linears, is_compiled, m):
        x = torch.randn(m, k, dtype=torch.bfloat16)
        apply = lambda linear: linear(x)
        if is_compiled:

            def product(linear, v):
                return torch.nn.functional.linear(v, linear.weight)

            # Of its own: what one code object was compiled to for few shapes, more of them run eagerly.
            product.__code__ = product.__code__.replace()
            compiled = torch.compile(product, dynamic=False)
            apply = lambda linear: compiled(linear, x)
        some = linears if m <= FEW_ROWS else linears[:1]
        try:
            apply(some[0])
        except Exception as error:
            return first_line(error)
        return lambda: median_us(apply, some, options.seconds)

    out = {}
    for prefix, their_config in {"": None}.items() if config == "plain" else torchao_configs(config).items():
        ways = [prefix + "eager", prefix + "compiled"] if options.compile else [prefix + "eager"]
        try:
            linears = linears_of(shape, their_config, count)
        except Exception as error:  # Whatever torchao raises is the result.
            out |= {way: dict.fromkeys(rows, first_line(error)) for way in ways}
            continue
        out |= {way: {m: timed(linears, way.endswith("compiled"), m) for m in rows} for way in ways}
    if config == "int8dq":
        out["onednn"] = {m: onednn_int8(n, k, m, count if m <= FEW_ROWS else 1, options) for m in rows}
    return out


def first_line(error):
    return str(error).split("\n")[0]


def onednn_int8(n, k, m, count, options):
    import torch

    x = torch.randint(0, 255, (m, k), dtype=torch.uint8)
    weights = []
    for _ in range(count):
        w = torch.randint(-127, 127, (n, k), dtype=torch.int8)
        weights.append(torch.ops.onednn.qlinear_prepack(w, [m, k]))
    scale, zero = torch.full((n,), 0.01), torch.zeros(n, dtype=torch.int64)

    def run(w):
        return torch.ops.onednn.qlinear_pointwise(
            x, 0.02, 128, w, scale, zero, None, 1.0, 0, torch.bfloat16, "none", [], ""
        )

    try:
        run(weights[0])
    except Exception as error:
        return first_line(error)
    return lambda: median_us(run, weights, options.seconds)


def our_times(shape, config, rows, options):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [options.torchao, "bench", "linear", "--shapes", "{}x{}".format(*shape), "--configs", config]
        command += ["--m", ",".join(map(str, rows)), "--threads", str(options.threads), "--json", file.name]
        command += ["--seconds", str(options.seconds), "--rotation-mib", str(options.rotation_mib)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        measured = json.load(open(file.name))["linears"]
    return {line["m"]: line["problem"] or line["seconds"] * 1e6 for line in measured}


def measure(shape, config, options):
    """(microseconds of ours by M, {way: those or a reason by M}): medians over turns that alternate."""
    ways = torch_ways(shape, config, options.m, options)
    ours, others = [], []
    for _ in range(options.repeats):
        ours.append(our_times(shape, config, options.m, options))
        others.append({w: {m: t() if callable(t) else t for m, t in ways[w].items()} for w in ways})

    def middle(times):
        return statistics.median(times) if isinstance(times[0], float) else times[0]

    return (
        {m: middle([turn[m] for turn in ours]) for m in options.m},
        {w: {m: middle([turn[w][m] for turn in others]) for m in options.m} for w in ways},
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--torchao", default=os.path.join(here, "../build/bin/torchao"), help="the command torchao")
    parser.add_argument("--shapes", nargs="+", default=["4096x4096"], help="N x K")
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--m", nargs="+", type=int, default=[1, 4, 16, 64, 512])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement of a turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns of ours and of theirs")
    parser.add_argument("--rotation-mib", type=int, default=512)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too (minutes)")
    parser.add_argument("--json", help="file to write")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    lines = []
    print(f"{'N x K':<12}{'config':<14}{'M':>5}{'ours':>10}  others, us (times ours)")
    for text in options.shapes:
        shape = tuple(int(v) for v in text.split("x"))
        for config in options.configs:
            ours, others = measure(shape, config, options)
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
