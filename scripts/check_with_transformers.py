#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shows that the safetensors that `torchao quantize` and `torchao convert` write are what transformers and torchao read.

Three kinds of checkpoints, of every class that torchao 0.18 loads from safetensors:

quantize   MODEL quantized by us with each of CONFIGS, and a model with an embedding of its own
convert    every checkpoint of older torchao among CHECKPOINTS, .bin and safetensors, in today's form
parts      weights made or changed by torchao itself to hold what no config gives (static activations, act_pre_scale,
           scales of each kind), put into safetensors by torchao, and converted by us

transformers loads the first two (torchao rebuilds its tensor subclasses for it), but WITHOUT_CONFIG; torchao alone loads
these, and the third, of which transformers does not know all parts. Weights are dequantized by torchao, or by a formula
here for the classes that it cannot dequantize on a CPU, and compared bit for bit with our `torchao dequantize`, or with
what the torchao that wrote the checkpoint made of it; of the third kind every part and every attribute is compared. Plain
parameters are compared, too.

usage: check_with_transformers.py --torchao build/bin/torchao [--model models/demo] [--kind K] [--only NAME]...

Needs a Python with torch 2.13, torchao 0.18 and transformers 5.19; no network. Exits 1 when anything differs, or when a
class of torchao's list was not seen.
"""
import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import reference_checkpoints

ROOT = Path(__file__).resolve().parent.parent


def config(name, version=1, **data):
    return {"_type": name, "_version": version, "_data": data}


def dtype(name):
    return {"_type": "torch.dtype", "_data": name}


def member(enum, name):
    return {"_type": enum, "_data": name}


PER_TENSOR = {"_type": "PerTensor", "_version": 1, "_data": {}}
PER_AXIS_0 = {"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}}
PER_ROW = {"_type": "PerRow", "_version": 1, "_data": {"dim": -1}}


def per_group(size):
    return {"_type": "PerGroup", "_version": 1, "_data": {"group_size": size}}


def mx_config(element):
    return config("MXDynamicActivationMXWeightConfig", activation_dtype=dtype(element), weight_dtype=dtype(element))


# name -> what is passed to --quantization: a shorthand or torchao's config JSON.
CONFIGS = {
    "int8wo": "int8wo",
    "int8wo-32": "int8wo-32",
    "int8wo tensor": config("Int8WeightOnlyConfig", 2, granularity=PER_TENSOR),
    "int8dq": "int8dq",
    "int8dq-tensor": "int8dq-tensor",
    "int8dq-asym": "int8dq-asym",
    "int8dq act tensor, weight row": config("Int8DynamicActivationInt8WeightConfig", 2, granularity=[PER_TENSOR, PER_ROW]),
    "int8dq reduced range": config("Int8DynamicActivationInt8WeightConfig", 2, reduce_range=True),
    "intx2wo": "intx2wo",
    "intx4wo-32": "intx4wo-32",
    "intx4wo asymmetric": config(
        "IntxWeightOnlyConfig", 2, weight_dtype=dtype("int4"), granularity=per_group(64), mapping_type=member("MappingType", "ASYMMETRIC")
    ),
    "8da4w": "8da4w",
    "fp8wo": "fp8wo",
    "fp8wo e5m2": config("Float8WeightOnlyConfig", 2, weight_dtype=dtype("float8_e5m2")),
    "fp8wo group": config("Float8WeightOnlyConfig", 2, granularity=per_group(32)),
    "fp8dq-row": "fp8dq-row",
    "fp8dq-tensor": "fp8dq-tensor",
    "int4wo-128": "int4wo-128",
    "fp8da4w": "fp8da4w",
    "int4wo tile packed": config(
        "Int4WeightOnlyConfig", 2, group_size=128, int4_packing_format=member("Int4PackingFormat", "TILE_PACKED_TO_4D")
    ),
    "mxfp8": mx_config("float8_e4m3fn"),
    "mxfp8 e5m2": mx_config("float8_e5m2"),
    "mxfp4": mx_config("float4_e2m1fn_x2"),
    "mxfp6": "mxfp6",
    "nvfp4wo": "nvfp4wo",
    "nvfp4": "nvfp4",
    "mixed map": config(
        "FqnToConfig",
        fqn_to_config={
            "re:model\\.layers\\.0\\.self_attn\\.[qkv]_proj": config("Int8WeightOnlyConfig", 2),
            "model.layers.1.mlp.down_proj": None,
            "_default": config("IntxWeightOnlyConfig", 2, weight_dtype=dtype("int4"), granularity=per_group(64)),
        },
    ),
}

# Of CHECKPOINTS/base, whose embedding is not tied: the embedding quantized as torchao's recipe does, by its name.
EMBEDDING_MODEL = "qwen3u"
EMBEDDING_CONFIG = config(
    "FqnToConfig",
    fqn_to_config={
        "model.embed_tokens": config("IntxWeightOnlyConfig", 2, weight_dtype=dtype("int8"), granularity=PER_AXIS_0),
        "_default": config("Int8DynamicActivationIntxWeightConfig", 2, weight_dtype=dtype("int4"), weight_granularity=per_group(32)),
    },
)


# Converted checkpoints whose config.json transformers does not take: it has no quantization_config, or one that no config of
# today is equal to.
WITHOUT_CONFIG = {"ao0.8.0-llama1-fp8wo/bin", "ao0.11.0-llama1-uintx3/bin", "ao0.14.1-llama1-int4-opaque/bin"}


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


def bits_differ(torch, a, b):
    """Number of elements whose bits differ; None when shape or dtype do."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return None
    integer = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return int((a.contiguous().view(integer) != b.contiguous().view(integer)).sum())


def load_with_transformers(folder):
    """All parameters of the model, by name."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    return {name: parameter.data for name, parameter in model.named_parameters()}


def compare_values(weights, expected):
    """The differences of loaded weights, dequantized, from plain tensors."""
    import torch

    problems = []
    for name, weight in weights.items():
        class_name = type(weight).__name__
        if class_name != "Tensor":
            weight = dequantize(torch, weight)
        if name not in expected:
            problems.append(f"{name} is not among the expected weights")
            continue
        count = bits_differ(torch, weight, expected[name])
        if count is None:
            want = expected[name]
            problems.append(f"{name}: {weight.dtype} {list(weight.shape)}, expected {want.dtype} {list(want.shape)}")
        elif count:
            problems.append(f"{name} ({class_name}): {count} of {weight.numel()} values differ")
    # A tied head may be written or not; the model has it under the embedding's name.
    problems += [f"{name} was not loaded" for name in sorted(set(expected) - set(weights) - {"lm_head.weight"})]
    return problems


def compare_objects(weights, expected):
    """The differences of loaded weights from those that torchao stored: classes, every part, every attribute."""
    import torch

    def plain(value):
        return list(value) if isinstance(value, (tuple, torch.Size)) else value

    problems = [f"{name} was not loaded" for name in sorted(set(expected) - set(weights))]
    for name in sorted(set(expected) & set(weights)):
        got, want = weights[name], expected[name]
        if type(got) is not type(want):
            problems.append(f"{name}: {type(got).__name__}, expected {type(want).__name__}")
            continue
        parts, attributes = reference_checkpoints.names_of(want)
        for part in parts:
            a, b = (getattr(w, part) for w in (got, want)) if type(want).__name__ != "Tensor" else (got, want)
            if (a is None) != (b is None) or (a is not None and bits_differ(torch, a, b) != 0):
                problems.append(f"{name}: {part or 'the tensor'} differs")
        for attribute in attributes:
            if plain(getattr(got, attribute)) != plain(getattr(want, attribute)):
                problems.append(f"{name}: {attribute} is {getattr(got, attribute)}, expected {getattr(want, attribute)}")
    return problems


class Checks:
    """Runs checks one by one, prints a line for each, and counts."""

    def __init__(self, torchao, work, only):
        self.torchao, self.work, self.only = torchao, work, only
        self.passed = self.failed = 0
        self.seen = set()

    def command(self, *arguments):
        """Runs our command; returns its error, or None."""
        result = subprocess.run([str(a) for a in (self.torchao, *arguments)], capture_output=True, text=True, check=False)
        return None if result.returncode == 0 else f"exit {result.returncode}: torchao {arguments[0]}: {result.stderr.strip()}"

    def run(self, name, check):
        """`check(folder)` returns (weights or None, remark, problems)."""
        if self.only and name not in self.only:
            return
        folder = self.work / "check"
        folder.mkdir()
        try:
            weights, remark, problems = check(folder)
        except Exception as error:  # a refusal by the reference is a result to report, whatever its type
            frame = traceback.extract_tb(error.__traceback__)[-1]
            weights, remark = {}, f"{Path(frame.filename).name}:{frame.lineno}"
            problems = [f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"]
        shutil.rmtree(folder)
        classes = {}
        for weight in weights.values():
            classes[type(weight).__name__] = classes.get(type(weight).__name__, 0) + 1
        if not problems:
            self.seen |= set(classes)
        self.passed += not problems
        self.failed += bool(problems)
        what = ", ".join(f"{count} {kind}" for kind, count in sorted(classes.items()))
        print(f"{'FAIL' if problems else 'ok  '} {name:44} {what}{' (' + remark + ')' if remark else ''}", flush=True)
        for problem in problems[:5]:
            print(f"     {problem}")
        if len(problems) > 5:
            print(f"     ... and {len(problems) - 5} more")

    def quantize(self, name, quantization, model):
        def check(folder):
            text = quantization if isinstance(quantization, str) else json.dumps(quantization)
            error = self.command("quantize", model, folder / "q", "--quantization", text)
            error = error or self.command("dequantize", folder / "q", folder / "p")
            if error:
                return {}, "", [error]
            weights = load_with_transformers(folder / "q")
            problems = compare_values(weights, reference_checkpoints.read_tensors(folder / "p"))
            if {type(w).__name__ for w in weights.values()} == {"Tensor"}:
                problems.append("nothing was loaded as a quantized weight")
            return weights, "", problems

        self.run(name, check)

    def convert(self, name, source, expected):
        """`expected()` gives the values of all parameters."""

        def check(folder):
            error = self.command("convert", source, folder / "c")
            if error and "PrototypeFloat8Tensor, which torchao-0.18 cannot put into safetensors" in error:
                return {}, "refused, as by torchao", []
            if error:
                return {}, "", [error]
            if name in WITHOUT_CONFIG:
                weights = reference_checkpoints.load_with_torchao(folder / "c")
                return weights, "torchao alone", compare_values(weights, expected())
            weights = load_with_transformers(folder / "c")
            problems = compare_values(weights, expected())
            if reference_checkpoints.is_quantized(folder / "c") and {type(w).__name__ for w in weights.values()} == {"Tensor"}:
                problems.append("nothing was loaded as a quantized weight")
            return weights, "", problems

        self.run(name, check)

    def parts(self, name, weights, config_json):
        def check(folder):
            reference_checkpoints.save_with_torchao(folder / "s", weights(), config_json)
            error = self.command("convert", folder / "s", folder / "c")
            if error:
                return {}, "", [error]
            converted = reference_checkpoints.load_with_torchao(folder / "c")
            return converted, "", compare_objects(converted, reference_checkpoints.load_with_torchao(folder / "s"))

        self.run(name, check)


def run_all(checks, kinds, model, checkpoints):
    if "quantize" in kinds:
        for name, quantization in CONFIGS.items():
            checks.quantize(name, quantization, model)
        checks.quantize("embedding", EMBEDDING_CONFIG, checkpoints / "base" / EMBEDDING_MODEL)
    if "convert" in kinds:
        for entry in json.loads((checkpoints / "manifest.json").read_text())["checkpoints"]:
            folder = checkpoints / entry["id"]

            # The model before it was quantized, and what the torchao that wrote the checkpoint made of quantized weights.
            def expected(folder=folder, model=entry["model"]):
                plain = reference_checkpoints.read_tensors(checkpoints / "base" / model)
                return {**plain, **reference_checkpoints.read_tensors(folder / "dequant.safetensors")}

            for form in ("bin", "safetensors"):
                if (folder / form).is_dir() and (form == "bin" or entry["torchao"] != "0.18.0"):
                    checks.convert(f"{folder.name}/{form}", folder / form, expected)
    if "parts" in kinds:
        config_json = json.loads((checkpoints / "base" / "llama1" / "config.json").read_text())
        for name, weights in reference_checkpoints.makers().items():
            checks.parts(name, weights, config_json)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchao", type=Path, required=True, help="our command")
    parser.add_argument("--model", type=Path, default=ROOT / "models/demo", help="a model folder that is not quantized")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "tests/data/checkpoints", help="checkpoints of older torchao")
    parser.add_argument("--kind", action="append", choices=["quantize", "convert", "parts"], help="default: all")
    parser.add_argument("--only", action="append", help="the names printed (default: all)")
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
    from torchao.prototype.safetensors.safetensors_utils import ALLOWED_TENSORS_SUBCLASSES

    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, torchao {reference.__version__}, transformers {transformers.__version__}")
    kinds = args.kind or ["quantize", "convert", "parts"]
    with tempfile.TemporaryDirectory(dir=args.work) as work:
        checks = Checks(args.torchao.resolve(), Path(work), args.only)
        run_all(checks, kinds, args.model, args.checkpoints)
    print(f"{checks.passed} passed, {checks.failed} failed")
    unseen = set(ALLOWED_TENSORS_SUBCLASSES) - checks.seen
    if not args.kind and not args.only and unseen:
        print(f"torchao loads {', '.join(sorted(unseen))} from safetensors, but no check was about it")
    return 1 if checks.failed or (not args.kind and not args.only and unseen) else 0


if __name__ == "__main__":
    sys.exit(main())
