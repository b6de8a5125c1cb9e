#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of vLLM on a CPU: torchao_cpp's plugin beside vLLM with torchao and vLLM unquantized.

    scripts/vllm_venv.sh /tmp/venv && /tmp/venv/bin/pip install ./python
    build/bin/torchao make-model bench/configs/qwen3_0_6b.json /tmp/qwen3_0_6b --seed 0
    /tmp/venv/bin/python bench/compare_vllm.py /tmp/qwen3_0_6b --configs int8wo int8dq int4wo-128

Each engine runs in a process of its own. Decoding: tokens a second of all sequences together, from the time between
one and DECODE_TOKENS new tokens; prefill: tokens of one prompt a second. Medians of REPEATS.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# Name -> (plugins that vLLM loads, value of --quantization).
ENGINES = {"plugin": ("torchao_cpp", "torchao_cpp"), "torchao": ("none", "torchao"), "bf16": ("none", None)}


def measure(options):
    """Runs in the process of one engine; prints one line of JSON."""
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
    llm = LLM(
        options.model,
        dtype="bfloat16",
        max_model_len=options.prefill_tokens + 64,
        max_num_batched_tokens=max(options.prefill_tokens + 64, 2048),
        max_num_seqs=max(options.batches),
        kv_cache_memory_bytes=1 << 30,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        disable_log_stats=True,
        enforce_eager=options.eager,
        **arguments,
    )
    load_seconds = time.perf_counter() - start
    vocabulary = llm.llm_engine.model_config.get_vocab_size()

    def run(batch, length, new_tokens, salt):
        prompts = [
            {"prompt_token_ids": [(salt * 7919 + row * 101 + i * 31) % (vocabulary - 10) for i in range(length)]}
            for row in range(batch)
        ]
        sampling = SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        begin = time.perf_counter()
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - begin
        assert all(len(output.outputs[0].token_ids) == new_tokens for output in outputs)
        return seconds

    result = {"load_seconds": load_seconds}
    for batch in options.batches:
        run(batch, 16, 4, 0)
        rates = []
        for repeat in range(options.repeats):
            first = run(batch, 16, 1, repeat)
            all_tokens = run(batch, 16, options.decode_tokens, repeat)
            rates.append(batch * (options.decode_tokens - 1) / (all_tokens - first))
        result[f"decode_{batch}"] = statistics.median(rates)
    run(1, options.prefill_tokens, 1, 99)
    times = [run(1, options.prefill_tokens, 1, repeat) for repeat in range(options.repeats)]
    result["prefill"] = options.prefill_tokens / statistics.median(times)
    print("RESULT " + json.dumps(result), flush=True)


def run_engine(engine, config, options):
    """One engine in its own process: (result, problem)."""
    environment = {
        **os.environ,
        "VLLM_PLUGINS": ENGINES[engine][0],
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", f"0-{os.cpu_count() - 1}"),
    }
    command = [sys.executable, __file__, options.model, "--engine", engine]
    command += ["--batches", *map(str, options.batches), "--repeats", str(options.repeats)]
    command += ["--decode-tokens", str(options.decode_tokens), "--prefill-tokens", str(options.prefill_tokens)]
    command += ["--config", config] if config else []
    command += ["--eager"] if options.eager else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=options.timeout)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT ")), None
    errors = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line]
    return None, errors[0].strip() if errors else f"exit {done.returncode}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--configs", nargs="*", default=["int8wo", "int8dq", "int4wo-128"], help="shorthands")
    parser.add_argument("--engines", nargs="*", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--decode-tokens", type=int, default=32)
    parser.add_argument("--prefill-tokens", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one engine")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--engine", choices=list(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--config", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        measure(options)
        return
    columns = [*(f"decode_{batch}" for batch in options.batches), "prefill", "load_seconds"]
    if not options.json:
        print("| config | engine | " + " | ".join(columns) + " |")
        print("|---|---|" + "---|" * len(columns), flush=True)
    for config in ["", *options.configs]:
        for engine in options.engines:
            if (engine == "bf16") != (config == ""):
                continue
            result, problem = run_engine(engine, config, options)
            if options.json:
                print(json.dumps({"config": config or "none", "engine": engine, "result": result, "problem": problem}))
                continue
            cells = [f"{result[c]:.1f}" for c in columns] if result else [problem, *[""] * (len(columns) - 1)]
            print(f"| {config or 'none'} | {engine} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
