#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collects the fuzz targets' seeds from tests/data into FOLDER/TARGET/, which it makes afresh.

usage: collect_seeds.py FOLDER

Files that are large only by their data are cut down: a checkpoint keeps one weight of each class and set of attributes,
a tokenizer the first of its tokens. Needs nothing but Python 3.9.
"""
import hashlib
import json
import shutil
import struct
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "data"
SEPARATOR = b"\xff"
LARGEST_SEED = 16 << 10
TOKENS_OF_A_SEED = 300

SAFETENSORS_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8", "uint8": "U8", "int32": "I32",
                      "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0", "int64": "I64"}
ENUM_FIELDS = {"mapping_type": "MappingType", "kernel_preference": "KernelPreference",
               "scaling_mode": "ScaleCalculationMode"}


class Seeds:
    def __init__(self, folder):
        self.folder = folder

    def add(self, target, *parts):
        """One seed of text or bytes; several parts are joined as the targets split them."""
        contents = SEPARATOR.join(p.encode() if isinstance(p, str) else p for p in parts)
        if len(contents) > LARGEST_SEED:
            return
        folder = self.folder / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / hashlib.sha1(contents).hexdigest()[:16]).write_bytes(contents)


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def safetensors_header(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return raw[8:8 + length], raw[8 + length:]


def add_configs(seeds):
    for path in sorted((DATA / "configs").rglob("*.json")):
        if path.name == "layer_selection.json" or path.name.endswith(".expect.json"):
            continue
        text = path.read_text()
        seeds.add("config", text)
        seeds.add("json", text)
        seeds.add("layer_selection", text, "model.layers.0.self_attn.q_proj")
    for shorthand in ("int8wo", "int8dq", "int4wo-128", "intx4wo-32", "fp8wo", "fp8dq-row", "8da4w", "nf4", "mxfp8"):
        seeds.add("config", shorthand)


def add_layer_selection(seeds):
    table = json.loads((DATA / "configs" / "layer_selection.json").read_text())
    row = {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}
    for case in table["cases"]:
        rules = case["rules"]
        if rules is not None:
            entries = {key: None if value is None else row for key, value in rules}
            config = {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": entries}}
        else:
            config = row
        whole = {"quant_method": "torchao", "quant_type": {"default": config},
                 "modules_to_not_convert": case.get("modules_to_not_convert")}
        for module in table["modules"][:4]:
            seeds.add("layer_selection", compact(whole), module)
        for key, _ in rules or []:
            if key.startswith("re:"):
                seeds.add("python_regex", key.removeprefix("re:"), table["modules"][0])


def add_patterns(seeds):
    name = "model.layers.11.mlp.down_proj"
    for pattern in (r"model\.layers\.(\d+)\..*_proj", r".*\.(q|k|v)_proj", r"(?P<a>mlp|attn).*(?P=a)?", r"(a+)+b", r"(?i:MODEL)[^.]+.*",
                    r"(?x) model \. # comment", r"(?<!vision)\.[]a-z]+$", r"(?(1)a|b)", r"[\w.]{1,40}", r"\Amodel.*?\Z", r"(?:a|b)*?\x41"):
        seeds.add("python_regex", pattern, name)
        seeds.add("tokenizer_pattern", pattern, name)
    for pattern in (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
                    r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                    r"\d{1,3}(?=(?:\d{3})*\b)", r"[一-龥]+", r"(?m)^.*$", r"(?>a*)\Kb", r"|", r"[[:space:]]+"):
        seeds.add("tokenizer_pattern", pattern, "It's 12345 caf\u00e9  \u4e2d\u6587\n\n aaaa")


def add_models(seeds):
    folders = sorted({p.parent for p in DATA.rglob("config.json")} | {ROOT / "models" / "demo"})
    for folder in folders:
        text = (folder / "config.json").read_text()
        generation = folder / "generation_config.json"
        seeds.add("hf_config", *([text, generation.read_text()] if generation.is_file() else [text]))
    for path in sorted(DATA.rglob("*.index.json")) + [ROOT / "models" / "demo" / "model.safetensors.index.json"]:
        seeds.add("shard_index", path.read_bytes())
        seeds.add("json", path.read_bytes())


def add_safetensors(seeds):
    for path in sorted((DATA / "hostile").glob("*.safetensors")):
        seeds.add("safetensors_header", path.read_bytes())
    small = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
             "b": {"dtype": "F4", "shape": [4], "data_offsets": [8, 10]}, "c": {"dtype": "I8", "shape": [0], "data_offsets": [10, 10]}}
    seeds.add("safetensors_header", compact(small), bytes(range(10)))


def unpacked_metadata(metadata):
    """Metadata whose JSON texts are values, as safetensors_image takes them."""
    out = {}
    for key, value in metadata.items():
        try:
            out[key] = json.loads(value) if value[:1] in "{[" else value
        except ValueError:
            out[key] = value
    return out


def add_weight_parts(seeds):
    paths = [*sorted((DATA / "hostile").glob("ao_*.safetensors")), *sorted((DATA / "checkpoints").glob("*/safetensors/*.safetensors"))]
    for path in paths:
        raw, data = safetensors_header(path)
        header = json.loads(raw)
        metadata = unpacked_metadata(header.pop("__metadata__", {}))
        contents = data[:256]
        seen = set()
        for name, entry in metadata.items():
            if not isinstance(entry, dict) or entry.get("_type") == "Tensor":
                continue
            module, _, leaf = name.rpartition(".")
            prefixes = (f"{module}._{leaf}_", f"{name}:")
            parts = {k: {"dtype": v["dtype"], "shape": v["shape"]} for k, v in header.items() if k.startswith(prefixes)}
            kind = compact([entry.get("_type"), sorted(v["dtype"] for v in parts.values())])
            if kind in seen:
                continue
            seen.add(kind)
            whole = {"__metadata__": {"tensor_names": [name], name: entry}, **parts}
            seeds.add("weight_parts", compact(whole), contents)


def add_torch_files(seeds):
    paths = [*sorted((DATA / "hostile").glob("*.bin")), *sorted((DATA / "checkpoints").glob("*/bin/*.bin")),
             *sorted((DATA / "golden_cuda").glob("*.bin"))]
    seen = set()
    for path in paths:
        raw = path.read_bytes()
        seeds.add("zip", raw)
        try:
            with zipfile.ZipFile(path) as archive:
                pickle = archive.read(next(n for n in archive.namelist() if n.endswith("/data.pkl")))
                sizes = {i.filename.partition("/data/")[2]: i.file_size for i in archive.infolist()}
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, StopIteration):
            continue  # most hostile files
        # Checkpoints of one class differ in little but the tensors' names.
        kind = (len(pickle) // 64, pickle[:64])
        if kind not in seen:
            seen.add(kind)
            seeds.add("pickle", pickle)
            storages = [min(sizes[str(i)], 0xffff) for i in range(255) if str(i) in sizes]
            seeds.add("torch_file", bytes([len(storages)]) + struct.pack(f"<{len(storages)}H", *storages) + pickle)


def to_wire(field, value):
    """An attribute as checkpoints store it, from the plain form of the golden manifest."""
    if isinstance(value, str):
        if field in ENUM_FIELDS:
            return {"_type": ENUM_FIELDS[field], "_data": value}
        return {"_type": "torch.dtype", "_data": value} if field.endswith("dtype") and not value.startswith("fp6_") else value
    if isinstance(value, dict):
        inner = {k: to_wire(k, v) for k, v in value.items() if k != "_type"}
        return {"_type": value.get("_type", "Float8MMConfig"), "_data": inner}
    return value


def add_other_weights(seeds):
    """Classes of which tests/data has no file."""
    dtype = {"_type": "torch.dtype", "_data": "bfloat16"}
    for class_name, attributes, parts in (
            ("Int4PlainInt32Tensor", {"block_size": [1, 32], "shape": [4, 64]},
             {"qdata": ["I32", [4, 8]], "scale": ["BF16", [2, 4]], "zero_point": ["I8", [2, 4]]}),
            ("Int4PreshuffledTensor", {"block_size": [1, 32], "shape": [16, 64]},
             {"group_zero": ["BF16", [2, 16]], "qdata": ["I8", [16, 32]], "group_scale": ["BF16", [2, 16]]}),
            ("Int4PreshuffledTensor", {"block_size": [1, 32], "shape": [16, 64]},
             {"row_scale": ["F32", [16]], "qdata": ["I8", [16, 32]], "group_scale": ["F8_E4M3", [2, 8, 16]]}),
            ("Float8Sparse2x4_2DData2DMetadataTensor", {"block_size": [1, 128], "act_quant_kwargs": None, "dtype": dtype},
             {"qdata": ["F8_E4M3", [4, 64]], "sparse_metadata": ["U8", [64, 16]], "scale": ["F32", [4, 1]]})):
        described = {"_type": class_name, "_data": attributes, "_tensor_data_names": list(parts)}
        tensors = {f"a._weight_{k}": {"dtype": v[0], "shape": v[1]} for k, v in parts.items()}
        seeds.add("weight_parts", compact({"__metadata__": {"tensor_names": ["a.weight"], "a.weight": described}, **tensors}))


def add_golden(seeds):
    manifest = json.loads((DATA / "golden" / "manifest.json").read_text())
    seen = set()
    for entry in manifest["entries"]:
        tensors = {k[2:]: v for k, v in entry.get("tensors", {}).items() if k.startswith("q.") and k != "q.codes"}
        kind = compact([entry.get("class"), entry.get("case")])
        if not tensors or kind in seen or any(v["dtype"] not in SAFETENSORS_DTYPES for v in tensors.values()):
            continue
        seen.add(kind)
        attributes = {k: to_wire(k, v) for k, v in entry["attributes"].items() if k != "padded_shape"}
        if entry["class"] == "NF4Tensor":
            attributes["shape"] = [entry["N"], entry["K"]]
        described = {"_type": entry["class"], "_data": attributes, "_tensor_data_names": sorted(tensors)}
        parts = {f"a._weight_{k}": {"dtype": SAFETENSORS_DTYPES[v["dtype"]], "shape": v["shape"]} for k, v in tensors.items()}
        if entry["class"] == "MXTensor":
            parts["a._weight_scale"]["dtype"] = "F8_E8M0"
        seeds.add("weight_parts", compact({"__metadata__": {"tensor_names": ["a.weight"], "a.weight": described}, **parts}))


def small_tokenizer(tokenizer):
    vocab = dict(list(tokenizer["model"]["vocab"].items())[:TOKENS_OF_A_SEED])
    merges = [m.split(" ") if isinstance(m, str) else m for m in tokenizer["model"]["merges"]]
    merges = [m for m in merges if len(m) == 2 and all(t in vocab for t in (*m, "".join(m)))]
    model = {**tokenizer["model"], "vocab": vocab, "merges": merges}
    return {**tokenizer, "model": model, "added_tokens": tokenizer.get("added_tokens", [])[:4]}


def add_tokenizers(seeds):
    demo = small_tokenizer(json.loads((ROOT / "models" / "demo" / "tokenizer.json").read_text()))
    seeds.add("tokenizer", compact(demo))
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "\u0120": 7}, "merges": [["a", "b"], "ab c"]}
    tokens = [{"id": 5, "content": "<|im_start|>", "special": True}, {"id": 6, "content": "user", "special": False, "lstrip": True,
                                                                     "rstrip": True, "single_word": True, "normalized": True}]
    split = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}|\s+"}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    for pre_tokenizer in (None, byte_level, split, {"type": "Sequence", "pretokenizers": [split, byte_level]},
                          {**split, "pattern": {"String": " "}, "behavior": "MergedWithNext", "invert": True}):
        for normalizer in (None, {"type": "NFKC"}, {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFC"}]}):
            seeds.add("tokenizer", compact({"added_tokens": tokens, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
                                            "post_processor": None, "decoder": byte_level, "model": {**model, "unk_token": "a"}}))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[2])
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    seeds = Seeds(folder)
    for step in (add_configs, add_layer_selection, add_patterns, add_models, add_safetensors, add_weight_parts,
                 add_other_weights, add_golden, add_torch_files, add_tokenizers):
        step(seeds)
    counts = {p.name: len(list(p.iterdir())) for p in sorted(folder.iterdir())}
    print("seeds: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
