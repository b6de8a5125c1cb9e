#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that what `torchao quantize` writes is what transformers and torchao read.

For each config: quantizes MODEL with our command, loads the result with transformers (which lets torchao rebuild its
tensor subclasses), dequantizes every weight there, and compares it bit for bit with what our `torchao dequantize` wrote.
Every plain parameter is compared, too.

usage: check_with_transformers.py --torchao build/bin/torchao --model models/demo [--config C]... [--work FOLDER]

Needs a Python with torch, torchao and transformers; no network.
"""
import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

# name -> what is passed to --quantization: a shorthand or torchao's config JSON.
CONFIGS = {
    "int8wo": "int8wo",
    "int8dq": "int8dq",
    "intx4wo-32": "intx4wo-32",
    "8da4w": "8da4w",
    "fp8wo": "fp8wo",
    "fp8dq-row": "fp8dq-row",
    "int4wo-128": "int4wo-128",
    "int4wo tile packed": {
        "_type": "Int4WeightOnlyConfig",
        "_version": 2,
        "_data": {"group_size": 128, "int4_packing_format": {"_type": "Int4PackingFormat", "_data": "TILE_PACKED_TO_4D"}},
    },
    "mxfp8": {"_type": "MXDynamicActivationMXWeightConfig", "_version": 1, "_data": {}},
    "mxfp4": {
        "_type": "MXDynamicActivationMXWeightConfig",
        "_version": 1,
        "_data": {
            "activation_dtype": {"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"},
            "weight_dtype": {"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"},
        },
    },
    "nvfp4wo": {"_type": "NVFP4WeightOnlyConfig", "_version": 1, "_data": {}},
    "mixed map": {
        "_type": "FqnToConfig",
        "_version": 1,
        "_data": {
            "fqn_to_config": {
                "re:model\\.layers\\.0\\.self_attn\\.[qkv]_proj": {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}},
                "model.layers.1.mlp.down_proj": None,
                "_default": {
                    "_type": "IntxWeightOnlyConfig",
                    "_version": 2,
                    "_data": {
                        "weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
                        "granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 64}},
                    },
                },
            }
        },
    },
}


def unpack_nibbles(torch, qdata):
    """int8 [N, K/2], two two's complement codes a byte, even column low -> int8 [N, K]."""
    low = (qdata << 4) >> 4
    high = qdata >> 4
    return torch.stack([low, high], dim=-1).reshape(qdata.shape[0], -1)


def dequantize_int4(torch, weight):
    """torchao has no dequantize for Int4Tensor: q * scale + zero_point, scale and zero_point [K/g, N]."""
    q = unpack_nibbles(torch, weight.qdata).float()
    group_size = weight.block_size[-1]
    scale = weight.scale.float().t().repeat_interleave(group_size, dim=1)
    zero_point = weight.zero_point.float().t().repeat_interleave(group_size, dim=1)
    return (q * scale + zero_point).to(weight.scale.dtype)


def dequantize_tile_packed(torch, weight):
    """Int4TilePackedTo4dTensor: qdata int32 [N/8, K/128, 32, 4], scale_and_zero [K/g, N, 2]; unsigned codes."""
    a, b, lanes, words = weight.qdata.shape
    n, k = a * 8, b * 128
    q = torch.zeros(n, k, dtype=torch.float32)
    base = torch.arange(b)
    for lane in range(lanes):
        for word in range(words):
            for i in range(8):
                j, odd = (i // 2) % 2, i // 4
                eight = 8 * (i % 2)
                column = (8 * base + 2 * word + j) * 16 + 2 * (lane % 4) + odd + eight
                rows = torch.arange(a) * 8 + lane // 4
                q[rows[:, None], column[None, :]] = ((weight.qdata[:, :, lane, word] >> (4 * i)) & 15).float()
    group_size = weight.block_size[-1]
    scale = weight.scale_and_zero[..., 0].float().t().repeat_interleave(group_size, dim=1)
    zero = weight.scale_and_zero[..., 1].float().t().repeat_interleave(group_size, dim=1)
    full = ((q - 8) * scale + zero).to(torch.bfloat16)
    rows, columns = weight.shape
    return full[:rows, :columns].contiguous()


def dequantize(torch, weight):
    name = type(weight).__name__
    if name == "Int4Tensor":
        return dequantize_int4(torch, weight)
    if name == "Int4TilePackedTo4dTensor":
        return dequantize_tile_packed(torch, weight)
    return weight.dequantize()


def read_folder(folder):
    """All tensors of a plain checkpoint."""
    from safetensors.torch import load_file

    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    return tensors


def bits_differ(torch, a, b):
    """Number of elements whose bits differ; None when shape or dtype do."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return None
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return int((a.contiguous().view(integer) != b.contiguous().view(integer)).sum())


def compare(quantized, dequantized):
    """Returns (count by weight class, list of differences)."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(quantized, dtype="auto")
    ours = read_folder(dequantized)
    classes = {}
    problems = []
    seen = set()
    for name, parameter in model.named_parameters():
        weight = parameter.data
        class_name = type(weight).__name__
        classes[class_name] = classes.get(class_name, 0) + 1
        if class_name != "Tensor":
            weight = dequantize(torch, weight)
        if name not in ours:
            problems.append(f"{name} is not in our dequantized checkpoint")
            continue
        seen.add(name)
        count = bits_differ(torch, weight, ours[name])
        if count is None:
            problems.append(f"{name}: {weight.dtype} {list(weight.shape)}, ours {ours[name].dtype} {list(ours[name].shape)}")
        elif count:
            problems.append(f"{name} ({class_name}): {count} of {weight.numel()} values differ")
    # A tied head may be written or not; the model has it under the embedding's name.
    for name in sorted(set(ours) - seen - {"lm_head.weight"}):
        problems.append(f"{name} is in our checkpoint but not in the model")
    return classes, problems


def run(command):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"exit {result.returncode}: {' '.join(map(str, command[:2]))}: {result.stderr.strip()}")


def check(name, config, torchao, model, work):
    folder = work / "".join(c if c.isalnum() or c == "-" else "_" for c in name)
    quantized, dequantized = folder / "quantized", folder / "dequantized"
    folder.mkdir(parents=True)
    try:
        text = config if isinstance(config, str) else json.dumps(config)
        run([torchao, "quantize", model, quantized, "--quantization", text])
        run([torchao, "dequantize", quantized, dequantized])
        classes, problems = compare(quantized, dequantized)
        if set(classes) == {"Tensor"}:
            problems.append("nothing was loaded as a quantized weight")
    except Exception as error:  # a refusal by the reference is a result to report, whatever its type
        classes, problems = {}, [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]
    shutil.rmtree(folder)
    what = ", ".join(f"{count} {kind}" for kind, count in sorted(classes.items()))
    print(f"{'ok  ' if not problems else 'FAIL'} {name:20} {what}", flush=True)
    for problem in problems[:5]:
        print(f"     {problem}")
    if len(problems) > 5:
        print(f"     ... and {len(problems) - 5} more")
    return not problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchao", type=Path, required=True, help="our command")
    parser.add_argument("--model", type=Path, required=True, help="a model folder that is not quantized")
    parser.add_argument("--config", action="append", help="shorthand, JSON or one of the names printed (default: all)")
    parser.add_argument("--work", type=Path, help="folder for the checkpoints (default: a temporary one)")
    args = parser.parse_args()

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch
    import torchao as reference
    import transformers

    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, torchao {reference.__version__}, transformers {transformers.__version__}")
    chosen = {name: CONFIGS.get(name, name) for name in args.config} if args.config else CONFIGS
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        results = [check(name, config, args.torchao.resolve(), args.model, Path(work)) for name, config in chosen.items()]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
