#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What vLLM answers on a CPU with torchao_cpp's plugin beside what it answers with torchao.

    /tmp/venv/bin/python bench/compare_vllm_outputs.py models/demo --text models/demo/heldout_text.txt
    /tmp/venv/bin/python bench/compare_vllm_outputs.py /tmp/qwen3_0_6b

For each config: how many of the greedy continuations are equal, the share of the scored positions with the same most
likely token, and differences of the greatest logits. Without --text: random ids. One process for each engine.

--exact adds, for configs with one scale a weight row and plain activations (int8wo, fp8wo), how far both are from the
same model in float64, by transformers: the share of positions with its most likely token, and the errors of logits.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import torchao_cpp

RUNNER = pathlib.Path(__file__).resolve().parent.parent / "python" / "tests" / "vllm_runner.py"


def run(requests, plugins):
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "requests.json"), pathlib.Path(folder, "results.json")
        source.write_text(json.dumps(requests))
        threads = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", f"0-{os.cpu_count() - 1}")
        environment = {**os.environ, "VLLM_PLUGINS": plugins, "VLLM_CPU_OMP_THREADS_BIND": threads}
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(source), str(target)], env=environment, capture_output=True, text=True
        )
        if not target.exists():
            sys.exit(done.stderr[-4000:])
        return json.loads(target.read_text())


def row(ours, theirs):
    for name, result in (("plugin", ours), ("torchao", theirs)):
        if "problem" in result:
            return f"{name}: {result['problem'].splitlines()[0][:90]} | | | |"
    equal = sum(a == b for a, b in zip(ours["tokens"], theirs["tokens"]))
    pairs = list(zip(ours["logits"], theirs["logits"]))
    same = sum(p[0][0] == q[0][0] for p, q in pairs)
    differences = []
    for p, q in pairs:
        other = {token: value for token, value in q}
        differences += [abs(value - other[token]) for token, value in p if token in other]
    mean = sum(differences) / len(differences)
    return f"{equal} of {len(ours['tokens'])} | {100 * same / len(pairs):.2f} % of {len(pairs)} | {max(differences):.2g} | {mean:.2g} |"


def exact_logits(model_folder, config, scored):
    """[positions, vocabulary] for each list of ids: weights are code times scale, all in float64."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16).double()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            parts = torchao_cpp.quantize(module.weight.data.bfloat16(), config).parts
            scale = parts["scale"].torch().double().reshape(-1, 1)
            assert scale.shape[0] == module.weight.shape[0], f"{config}: more than one scale a row"
            module.weight.data = parts["qdata"].torch().double() * scale
    with torch.inference_mode():
        return [model(torch.tensor([ids])).logits[0, :-1] for ids in scored]


def row_beside_exact(result, exact):
    if "problem" in result:
        return f"{result['problem'].splitlines()[0][:90]} | | |"
    positions = [position for logits in exact for position in logits]
    same = sum(p[0][0] == int(q.argmax()) for p, q in zip(result["logits"], positions, strict=True))
    errors = [abs(value - float(q[token])) for p, q in zip(result["logits"], positions) for token, value in p]
    return f"{100 * same / len(positions):.2f} % | {max(errors):.2g} | {sum(errors) / len(errors):.3g} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--text", help="scored and continued; the model's tokenizer.json is used")
    parser.add_argument("--configs", nargs="*", default=["int8wo", "int8dq", "8da4w", "intx4wo-32", "fp8wo", "int4wo-128"])
    parser.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--exact", action="store_true", help="both beside the model in float64")
    options = parser.parse_args()
    if options.text:
        ids = torchao_cpp.Tokenizer(options.model).encode(pathlib.Path(options.text).read_text()[:40000])
    else:
        size = json.loads(pathlib.Path(options.model, "config.json").read_text())["vocab_size"]
        generator = random.Random(0)
        ids = [generator.randrange(size) for _ in range(2048)]
    base = {
        "model": options.model,
        "prompts": [ids[i * 50 : i * 50 + 12] for i in range(4)],
        "scored": [ids[i * 512 : (i + 1) * 512] for i in range(4)],
        "new_tokens": 32,
    }
    cases = [(config, dtype) for config in options.configs for dtype in options.dtypes]

    def requests(quantization):
        return [
            base | {"config": torchao_cpp.as_config(c).to_dict(), "quantization": quantization, "engine": {"dtype": d}}
            for c, d in cases
        ]

    ours = run(requests("torchao_cpp"), "torchao_cpp")
    theirs = run(requests("torchao"), "none")
    print("| config | dtype | greedy continuations equal | top-1 equal | largest difference of logits | mean |")
    print("|---|---|---|---|---|---|")
    for (config, dtype), a, b in zip(cases, ours, theirs):
        print(f"| `{config}` | {dtype} | {row(a, b)}")
    if not options.exact:
        return
    print("| config | dtype | engine | top-1 as in float64 | largest error | mean error |")
    print("|---|---|---|---|---|---|")
    for (config, dtype), a, b in zip(cases, ours, theirs):
        exact = exact_logits(options.model, config, base["scored"])
        for engine, result in (("plugin", a), ("torchao", b)):
            print(f"| `{config}` | {dtype} | {engine} | {row_beside_exact(result, exact)}")


if __name__ == "__main__":
    main()
