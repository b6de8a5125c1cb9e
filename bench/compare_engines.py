#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Speed of a whole model on a CPU: torchao.cpp beside OpenVINO, llama.cpp and vLLM.

    scripts/engines_venv.sh /tmp/engines
    build/bin/torchao make-model bench/configs/qwen3_0_6b.json /tmp/qwen3_0_6b --seed 1
    /tmp/engines/bin/python bench/compare_engines.py /tmp/qwen3_0_6b --work /tmp/qwen3_forms --json F.json --plot F.svg

--vllm-python PYTHON (of an environment of scripts/vllm_venv.sh) adds vLLM unquantized; bench/compare_vllm.py measures
vLLM with torchao and with our plugin. The peers' forms of the model (about 4 GB; Qwen3's architecture for llama.cpp) are
made in --work once. A peer that is not installed is named and left out.

The engines are in processes of their own and take turns (engine_turns.py). Tokens a second: decoding by all sequences
together, after prompts of 16 tokens; prefill of one prompt. Each figure of a turn is the median of --runs, each in the
table the median of --repeats turns. Sampling is greedy everywhere. Ratios are ours / the peer's of the same width.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from bar_chart import svg_bars
from compare_vllm import start_vllm
from engine_turns import DECODE_PROMPT_TOKENS, Engine, prompt_ids, rates, serve, take_turns

# Name -> (bits of a weight, value of torchao's --quantization).
OURS = {
    "none": (16, ""),
    "int8wo": (8, "int8wo"),
    "int8dq": (8, "int8dq"),
    "fp8wo": (8, "fp8wo"),
    "int4wo-128": (4, "int4wo-128"),
    "8da4w": (4, "8da4w"),
    "8da4w-128": (4, "8da4w-128"),
    # The tied output head too, which OpenVINO and llama.cpp quantize.
    "int8wo+head": (8, {"default": "int8wo", "head": "int8wo"}),
    "int4wo-128+head": (4, {"default": "int4wo-128", "head": "int8wo"}),
    "8da4w-128+head": (4, {"default": "8da4w-128", "head": "int8wo"}),
}
# Engine -> {name: bits}.
PEERS = {
    "openvino": {"bf16": 16, "int8": 8, "int4-128": 4},
    "llama.cpp": {"BF16": 16, "Q8_0": 8, "Q4_0": 4},
    "vllm": {"bf16": 16},
}
OPENVINO_FORMATS = {
    "bf16": ["fp16"],
    "int8": ["int8"],
    "int4-128": ["int4", "--group-size", "128", "--sym"],
}
PACKAGES = {"openvino": ["openvino_genai", "optimum.intel"], "llama.cpp": ["llama_cpp", "gguf"]}


def median_of(run, runs):
    return lambda *arguments: statistics.median(run(*arguments) for _ in range(runs))


def serve_ours(options):
    """Each answer is a run of `torchao bench model`, which is loaded for it."""

    def bench(batch, prompt_tokens, decode_tokens):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "bench.json")
            command = [options.torchao, "bench", "model", options.model, "--threads", str(options.threads)]
            command += ["-q", quantization(options.form, folder)] if OURS[options.form][1] else []
            command += ["--batch", str(batch), "--prompt-tokens", str(prompt_tokens), "--json", str(file)]
            command += ["--decode-tokens", str(decode_tokens), "--repeats", str(options.runs)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return json.loads(file.read_text())["batches"][0]

    answers = {
        "decode": lambda batch, _: bench(batch, DECODE_PROMPT_TOKENS, options.decode_tokens)["decode_tokens_per_second"],
        "prefill": lambda tokens, _: bench(1, tokens, 1)["prefill_tokens_per_second"],
    }
    start = time.perf_counter()
    bench(1, DECODE_PROMPT_TOKENS, 1)
    serve(answers, time.perf_counter() - start)


def quantization(form, folder):
    """What --quantization takes; a config with a rule for the tied head is written into `folder`."""
    config = OURS[form][1]
    if isinstance(config, str):
        return config
    classes = {
        "int8wo": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}},
        "int4wo-128": {"_type": "Int4WeightOnlyConfig", "_version": 2, "_data": {"group_size": 128}},
        "8da4w-128": {
            "_type": "Int8DynamicActivationIntxWeightConfig",
            "_version": 2,
            "_data": {
                "weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
                "weight_granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 128}},
            },
        },
    }
    rules = {"model.embed_tokens": classes[config["head"]], "re:model[.]layers[.].*": classes[config["default"]]}
    path = pathlib.Path(folder, "quantization.json")
    path.write_text(json.dumps({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": rules}}))
    return str(path)


def serve_openvino(options):
    import numpy
    import openvino
    import openvino_genai

    start = time.perf_counter()
    properties = {"INFERENCE_NUM_THREADS": options.threads}
    if options.form == "bf16":
        properties["INFERENCE_PRECISION_HINT"] = openvino.Type.bf16
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens = max(2048, *options.prefill_tokens)
    scheduler.max_num_seqs = max(options.batches)
    scheduler.cache_size, scheduler.enable_prefix_caching = 1, False  # GB.
    folder = str(form_path(options, "openvino", options.form))
    pipeline = openvino_genai.ContinuousBatchingPipeline(folder, scheduler, "CPU", properties)
    vocabulary = json.loads(pathlib.Path(options.model, "config.json").read_text())["vocab_size"]

    def run(batch, length, new_tokens, salt):
        sampling = openvino_genai.GenerationConfig()
        sampling.max_new_tokens, sampling.ignore_eos, sampling.do_sample = new_tokens, True, False
        ids = [numpy.array([prompt_ids(length, row, salt, vocabulary)], numpy.int64) for row in range(batch)]
        begin = time.perf_counter()
        answers = pipeline.generate([openvino.Tensor(row) for row in ids], [sampling] * batch)
        seconds = time.perf_counter() - begin
        assert all(len(answer.m_generation_ids[0]) == new_tokens for answer in answers)
        return seconds

    serve_runs(run, options, start)


def serve_llama(options):
    import numpy
    from llama_cpp import llama_cpp

    start = time.perf_counter()
    llama_cpp.llama_backend_init()
    path = form_path(options, "llama.cpp", options.form)
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), llama_cpp.llama_model_default_params())
    settings = llama_cpp.llama_context_default_params()
    longest = max(*options.prefill_tokens, DECODE_PROMPT_TOKENS + options.decode_tokens)
    settings.n_seq_max = max(options.batches)
    settings.n_ctx = (longest + 64) * settings.n_seq_max
    settings.n_batch = max(longest, DECODE_PROMPT_TOKENS * settings.n_seq_max)
    settings.n_threads = settings.n_threads_batch = options.threads
    context = llama_cpp.llama_init_from_model(model, settings)
    vocabulary = json.loads(pathlib.Path(options.model, "config.json").read_text())["vocab_size"]
    batch_of = llama_cpp.llama_batch_init(settings.n_batch, 0, settings.n_seq_max)

    def step(tokens):
        """tokens: (id, position, sequence, whether its logits are wanted); the most likely ids of those."""
        batch_of.n_tokens = len(tokens)
        for i, (token, position, sequence, is_wanted) in enumerate(tokens):
            batch_of.token[i], batch_of.pos[i], batch_of.logits[i] = token, position, is_wanted
            batch_of.n_seq_id[i], batch_of.seq_id[i][0] = 1, sequence
        status = llama_cpp.llama_decode(context, batch_of)
        assert status == 0, f"llama_decode gives {status}"
        rows = [llama_cpp.llama_get_logits_ith(context, i) for i, token in enumerate(tokens) if token[3]]
        return [int(numpy.ctypeslib.as_array(row, (vocabulary,)).argmax()) for row in rows]

    def run(batch, length, new_tokens, salt):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        prompts = [prompt_ids(length, row, salt, vocabulary) for row in range(batch)]
        begin = time.perf_counter()
        tokens = step(
            [(token, i, row, i == length - 1) for row, prompt in enumerate(prompts) for i, token in enumerate(prompt)]
        )
        for position in range(length, length + new_tokens - 1):
            tokens = step([(token, position, row, True) for row, token in enumerate(tokens)])
        return time.perf_counter() - begin

    serve_runs(run, options, start)


def serve_runs(run, options, start):
    """With a warm-up of everything that is asked for."""
    answers = {what: median_of(rate, options.runs) for what, rate in rates(run, options.decode_tokens).items()}
    for batch in options.batches:
        run(batch, DECODE_PROMPT_TOKENS, 4, 99)
    for tokens in options.prefill_tokens:
        run(1, tokens, 1, 99)
    serve(answers, time.perf_counter() - start)


def form_path(options, engine, form):
    return pathlib.Path(options.work, f"{form}.gguf" if engine == "llama.cpp" else f"openvino_{form}")


def make_form(options, engine, form):
    """The model as that engine reads it, unless it is there; under another name until it is whole."""
    path = form_path(options, engine, form)
    if path.exists():
        return
    print(f"making {path}", file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if engine == "openvino":
        shutil.rmtree(part, ignore_errors=True)
        command = [os.path.join(os.path.dirname(sys.executable), "optimum-cli"), "export", "openvino"]
        command += ["--model", os.path.abspath(options.model), "--task", "text-generation-with-past"]
        command += ["--weight-format", *OPENVINO_FORMATS[form], str(part)]
        done = subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
        if not (part / "openvino_model.bin").exists():
            raise RuntimeError(f"optimum-cli: {done.stderr.strip().splitlines()[-1]}")
    else:
        import gguf_model

        if form == "BF16":
            gguf_model.write_bfloat16(options.model, str(part))
        else:
            make_form(options, engine, "BF16")
            gguf_model.quantize(form_path(options, engine, "BF16"), part, form)
    part.rename(path)


def missing(engine, options):
    """Why that engine cannot be measured, or ""."""
    if engine == "vllm":
        return "" if options.vllm_python else "no --vllm-python"
    for package in PACKAGES[engine]:
        try:
            if importlib.util.find_spec(package) is None:
                return f"no package {package} (scripts/engines_venv.sh)"
        except ModuleNotFoundError:
            return f"no package {package} (scripts/engines_venv.sh)"
    return ""


def start_engine(engine, form, options):
    if engine == "vllm":
        engine = start_vllm(form, "", options, options.vllm_python)
        engine.name, engine.config = "vllm", form
        return engine
    if engine != "ours":
        try:
            make_form(options, engine, form)
        except Exception as error:  # Whatever stops a peer is its result.
            print(f"{engine} {form}: {error}", file=sys.stderr)
            return None
    command = [sys.executable, os.path.abspath(__file__), options.model, "--serve", engine, "--form", form]
    for name in ("torchao", "work", "threads", "decode_tokens", "runs"):
        command += ["--" + name.replace("_", "-"), str(getattr(options, name))]
    command += ["--batches", *map(str, options.batches), "--prefill-tokens", *map(str, options.prefill_tokens)]
    return Engine(engine, form, command)


def bits_of(engine):
    return OURS[engine.config][0] if engine.name == "ours" else PEERS[engine.name][engine.config]


def label(engine):
    return f"{engine.name} {engine.config}"


def print_tables(engines, columns):
    width = max(len(label(engine)) for engine in engines)
    print(f"{'tokens/s':<{width}}  bits" + "".join(f"{column:>14}" for column in columns))
    for engine in engines:
        result = engine.result()
        cells = "".join(f"{result[column]:>14.1f}" for column in columns) if result else f"  {engine.problem}"
        print(f"{label(engine):<{width}}  {bits_of(engine):>4}{cells}")
    print(f"\n{'ours / peer':<{2 * width + 3}}" + "".join(f"{column:>14}" for column in columns))
    for row in ratios(engines, columns):
        cells = "".join(f"{ratio:>14.2f}" for ratio in row["ratios"].values())
        print(f"{row['ours']:<{width}} / {row['peer']:<{width}}{cells}")


def ratios(engines, columns):
    done = [engine for engine in engines if engine.result()]
    return [
        {
            "ours": label(ours),
            "peer": label(peer),
            "ratios": {column: ours.result()[column] / peer.result()[column] for column in columns},
        }
        for ours in done
        for peer in done
        if ours.name == "ours" and peer.name != "ours" and bits_of(ours) == bits_of(peer)
    ]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--torchao", default=os.path.join(here, "../build/bin/torchao"), help="the command torchao")
    parser.add_argument("--work", default="", help="folder of the peers' forms of the model (default: MODEL.forms)")
    parser.add_argument("--ours", nargs="*", default=list(OURS), choices=list(OURS))
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--bits", nargs="*", type=int, default=[16, 8, 4], help="widths of weights")
    parser.add_argument("--vllm-python", default="", help="interpreter of an environment with vLLM")
    parser.add_argument("--eager", action="store_true", help="vLLM without torch.compile")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", nargs="*", type=int, default=[1, 8])
    parser.add_argument("--decode-tokens", type=int, default=32)
    parser.add_argument("--prefill-tokens", nargs="*", type=int, default=[512, 1024])
    parser.add_argument("--runs", type=int, default=3, help="runs of one turn")
    parser.add_argument("--repeats", type=int, default=3, help="turns")
    parser.add_argument("--json", help="file to write")
    parser.add_argument("--plot", help="SVG file to write")
    parser.add_argument("--serve", choices=["ours", "openvino", "llama.cpp"], help=argparse.SUPPRESS)
    parser.add_argument("--form", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.work = options.work or os.path.abspath(options.model) + ".forms"
    if options.serve:
        {"ours": serve_ours, "openvino": serve_openvino, "llama.cpp": serve_llama}[options.serve](options)
        return

    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # vLLM's.
    wanted = [("ours", form) for form in options.ours if OURS[form][0] in options.bits]
    for peer in options.peers:
        reason = missing(peer, options)
        if reason:
            print(f"{peer}: left out, {reason}", file=sys.stderr)
        else:
            wanted += [(peer, form) for form, bits in PEERS[peer].items() if bits in options.bits]
    engines = [start_engine(engine, form, options) for engine, form in wanted]
    engines = [engine for engine in engines if engine is not None]
    requests = [f"decode {batch}" for batch in options.batches] + [f"prefill {n}" for n in options.prefill_tokens]
    columns = [request.replace(" ", "_") for request in requests]
    take_turns(engines, requests, options.repeats, pause_seconds=0.3)
    for engine in engines:
        engine.end()
    print_tables(engines, columns)
    if options.json:
        lines = [
            {
                "engine": engine.name,
                "config": engine.config,
                "bits": bits_of(engine),
                "result": engine.result(),
                "turns": engine.rates,
                "problem": engine.problem,
            }
            for engine in engines
        ]
        document = {"model": options.model, "threads": options.threads, "engines": lines}
        pathlib.Path(options.json).write_text(json.dumps(document | {"ratios": ratios(engines, columns)}, indent=1))
    if options.plot:
        panels = [
            (request + " tokens/s", [(label(e), e.result()[column]) for e in engines if e.result()])
            for request, column in zip(requests, columns)
        ]
        name = os.path.basename(os.path.abspath(options.model))
        title = f"{name}, {options.threads} threads"
        pathlib.Path(options.plot).write_text(svg_bars(title, panels, lambda text: text.startswith("ours")))


if __name__ == "__main__":
    main()
