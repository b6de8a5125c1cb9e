# SPDX-License-Identifier: Apache-2.0
"""Runs vLLM over several models or configs in one process, with or without the plugin, for test_vllm.py.

usage: vllm_runner.py REQUESTS.json RESULTS.json

REQUESTS: a list of {"model", "config" (torchao's dict, or null), "quantization", "prompts" (lists of ids), "new_tokens",
"scored" (lists of ids), "eager", "engine" (further arguments of LLM)}. RESULTS: for each {"tokens", "logits", "seconds"} or
{"problem"}. "logits" holds, for each position of the scored prompts, the greatest values as [[token, logit], ..].
"""

import gc
import json
import os
import sys
import time
import traceback

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def greatest_logits(outputs):
    positions = []
    for output in outputs:
        for entry in output.prompt_logprobs[1:]:
            positions.append(sorted(((token, value.logprob) for token, value in entry.items()), key=lambda p: -p[1]))
    return positions


def run(request):
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory

    arguments = dict(request.get("engine", {}))
    if request.get("quantization"):
        arguments["quantization"] = request["quantization"]
    if request.get("config"):
        arguments["hf_overrides"] = {"quantization_config_dict_json": json.dumps(request["config"])}
    start = time.perf_counter()
    llm = LLM(
        request["model"],
        max_model_len=request.get("max_model_len", 640),
        max_num_batched_tokens=request.get("max_num_batched_tokens", 2048),
        max_num_seqs=8,
        kv_cache_memory_bytes=1 << 28,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        disable_log_stats=True,
        enforce_eager=request.get("eager", True),
        logprobs_mode="raw_logits",
        **arguments,
    )
    result = {"load_seconds": time.perf_counter() - start}
    try:
        if request.get("prompts"):
            sampling = SamplingParams(
                temperature=0, max_tokens=request["new_tokens"], ignore_eos=True, detokenize=False
            )
            prompts = [{"prompt_token_ids": ids} for ids in request["prompts"]]
            outputs = llm.generate(prompts, sampling, use_tqdm=False)
            result["tokens"] = [list(output.outputs[0].token_ids) for output in outputs]
        if request.get("scored"):
            sampling = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=8, detokenize=False)
            prompts = [{"prompt_token_ids": ids} for ids in request["scored"]]
            result["logits"] = greatest_logits(llm.generate(prompts, sampling, use_tqdm=False))
    finally:
        del llm
        gc.collect()
        cleanup_dist_env_and_memory()
    return result


def main():
    with open(sys.argv[1]) as file:
        requests = json.load(file)
    results = []
    for request in requests:
        try:
            results.append(run(request))
        except Exception as error:  # What vLLM raises is the result.
            traceback.print_exc()
            results.append({"problem": f"{type(error).__name__}: {error}"})
    with open(sys.argv[2], "w") as file:
        json.dump(results, file)


if __name__ == "__main__":
    main()
