#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of vLLM on a CPU: torchao_cpp's plugin beside vLLM with torchao and vLLM unquantized.

    scripts/vllm_venv.sh /tmp/venv && /tmp/venv/bin/pip install ./python
    build/bin/torchao make-model bench/configs/qwen3_0_6b.json /tmp/qwen3_0_6b --seed 0
    /tmp/venv/bin/python bench/compare_vllm.py /tmp/qwen3_0_6b --configs int8wo int8dq int4wo-128

The engines run in processes of their own, which take turns: a machine whose speed changes is the same for all of one
turn. Decoding: tokens a second of all sequences together, from the time between one and DECODE_TOKENS new tokens;
prefill: tokens of one prompt a second. vLLM runs without processes of its own, which would poll on the cores that the
linears and the other engines need. Medians of REPEATS turns. Each engine needs about 4 GB for a model of 0.6B;
--at-once limits how many are there together.
"""

import argparse
import json
import os
import sys
import time

from engine_turns import Engine, prompt_ids, rates, serve, take_turns

# Name -> (plugins that vLLM loads, value of --quantization).
ENGINES = {"plugin": ("torchao_cpp", "torchao_cpp"), "torchao": ("none", "torchao"), "bf16": ("none", None)}


def serve_vllm(options):
    """The process of one engine."""
    from vllm import LLM, SamplingParams

    arguments = {}
    if options.config:
        import torchao_cpp

        config = json.dumps(torchao_cpp.as_config(options.config).to_dict())
        arguments = {
            "quantization": ENGINES[options.engine][1],
            "hf_overrides": {"quantization_config_dict_json": config},
        }
    start = time.perf_counter()
    longest = max(options.prefill_tokens)
    llm = LLM(
        options.model,
        dtype="bfloat16",
        max_model_len=longest + 64,
        max_num_batched_tokens=max(longest + 64, 2048),
        max_num_seqs=max(options.batches),
        kv_cache_memory_bytes=1 << 29,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        disable_log_stats=True,
        enforce_eager=options.eager,
        **arguments,
    )
    vocabulary = llm.llm_engine.model_config.get_vocab_size()

    def run(batch, length, new_tokens, salt):
        prompts = [{"prompt_token_ids": prompt_ids(length, row, salt, vocabulary)} for row in range(batch)]
        sampling = SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        begin = time.perf_counter()
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - begin
        assert all(len(output.outputs[0].token_ids) == new_tokens for output in outputs)
        return seconds

    for batch in options.batches:
        run(batch, 16, 4, 0)
    for tokens in options.prefill_tokens:
        run(1, tokens, 1, 99)
    serve(rates(run, options.decode_tokens), time.perf_counter() - start)


def start_vllm(name, config, options, python=sys.executable):
    """The engine `name` of ENGINES in a process of that interpreter; config: a shorthand or ""."""
    cores = len(os.sched_getaffinity(0))
    environment = {
        **os.environ,
        "VLLM_PLUGINS": ENGINES[name][0],
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores)),
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", f"0-{cores - 1}"),
    }
    command = [python, os.path.abspath(__file__), options.model, "--engine", name]
    command += ["--batches", *map(str, options.batches), "--decode-tokens", str(options.decode_tokens)]
    command += ["--prefill-tokens", *map(str, options.prefill_tokens)]
    command += ["--config", config] if config else []
    command += ["--eager"] if options.eager else []
    return Engine(name, config, command, environment)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--configs", nargs="*", default=["int8wo", "int8dq", "int4wo-128"], help="shorthands")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--decode-tokens", type=int, default=32)
    parser.add_argument("--prefill-tokens", nargs="*", type=int, default=[512])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=3, help="engines in memory together")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--config", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        serve_vllm(options)
        return
    requests = [f"decode {batch}" for batch in options.batches] + [f"prefill {n}" for n in options.prefill_tokens]
    columns = [*(request.replace(" ", "_") for request in requests), "load_seconds"]
    if not options.json:
        print("| config | engine | " + " | ".join(columns) + " |")
        print("|---|---|" + "---|" * len(columns), flush=True)
    wanted = [
        (engine, config)
        for config in ["", *options.configs]
        for engine in options.engines
        if (engine == "bf16") == (config == "")
    ]
    for begin in range(0, len(wanted), options.at_once):
        engines = [start_vllm(engine, config, options) for engine, config in wanted[begin : begin + options.at_once]]
        take_turns(engines, requests, options.repeats)
        for engine in engines:
            engine.end()
            report(engine, columns, options)


def report(engine, columns, options):
    config, result = engine.config or "none", engine.result()
    if options.json:
        print(json.dumps({"config": config, "engine": engine.name, "result": result, "problem": engine.problem}))
        return
    cells = [f"{result[c]:.1f}" for c in columns] if result else [engine.problem, *[""] * (len(columns) - 1)]
    print(f"| {config} | {engine.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
