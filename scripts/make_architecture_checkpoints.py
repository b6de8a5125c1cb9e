#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/architectures: a tiny model of each architecture and of its switches, plain and quantized, with the
logits that transformers gives.

usage: make_architecture_checkpoints.py OUT

Needs torch, torchao and transformers (docs/compatibility.md names the versions). The folder has the form that
"torchao-conformance checkpoints" reads: base/MODEL with config.json, weights and expected.safetensors (input_ids, logits,
logits_f32); MODEL-CONFIG/safetensors and beside it expected.safetensors (logits, logits_f32_dequant) and
dequant.safetensors; manifest.json.
"""
import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from safetensors.torch import save_file
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, Int8WeightOnlyConfig, PerGroup

SEED = 11
TOKENS = 12
VOCAB = 48
GATED = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)

# name -> class of the model, class of its config, what differs from the defaults
MODELS = {
    "mistral": ("Mistral", dict(GATED, head_dim=32, sliding_window=None)),
    "mistral-window": ("Mistral", dict(GATED, sliding_window=16)),
    "qwen2": ("Qwen2", dict(GATED, tie_word_embeddings=False)),
    "qwen2-tied": ("Qwen2", dict(GATED, tie_word_embeddings=True, use_sliding_window=False, sliding_window=4)),
    "smollm3": ("SmolLM3", dict(GATED, num_hidden_layers=3, no_rope_layer_interval=2)),
    "smollm3-untied": ("SmolLM3", dict(GATED, no_rope_layers=[0, 1], attention_bias=True, tie_word_embeddings=False)),
    # opt-350m's form: norms behind attention and MLP, a narrower embedding.
    "opt-post-norm": ("OPT", dict(hidden_size=64, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4,
                                  do_layer_norm_before=False, word_embed_proj_dim=32)),
    # No biases, norms without weights, heads of an odd size.
    "opt-bare": ("OPT", dict(hidden_size=60, ffn_dim=96, num_hidden_layers=2, num_attention_heads=4, enable_bias=False,
                             layer_norm_elementwise_affine=False)),
}
QUANTIZED = {
    "mistral-8da4w": ("mistral", Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int4,
                                                                       weight_granularity=PerGroup(32))),
    "qwen2-int8wo": ("qwen2", Int8WeightOnlyConfig()),
    "smollm3-int8wo": ("smollm3", Int8WeightOnlyConfig()),
    "opt-post-norm-int8wo": ("opt-post-norm", Int8WeightOnlyConfig()),
}


def input_ids():
    return torch.randint(3, VOCAB, (1, TOKENS), generator=torch.Generator().manual_seed(SEED))


def logits_of(model):
    with torch.no_grad():
        return model(input_ids(), use_cache=False).logits.float().contiguous()


def make_base(out, name):
    family, settings = MODELS[name]
    config = getattr(transformers, family + "Config")(
        **{"vocab_size": VOCAB, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
           **settings})
    torch.manual_seed(SEED)
    model = getattr(transformers, family + "ForCausalLM")(config)
    generator = torch.Generator().manual_seed(SEED + 1)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 2:  # Rows of different size, so that their scales differ.
                spread = torch.exp(0.6 * torch.randn(weight.shape[0], 1, generator=generator))
                weight.copy_(noise * spread / weight.shape[1] ** 0.5)
            else:
                weight.add_(0.1 * noise)
    model = model.to(torch.bfloat16).eval()
    folder = out / "base" / name
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    expected = {"input_ids": input_ids(), "logits": logits_of(model)}
    expected["logits_f32"] = logits_of(model.float())
    save_file(expected, folder / "expected.safetensors")


def is_quantized(weight):
    return type(weight.data) is not torch.Tensor


def make_quantized(out, name):
    base, config = QUANTIZED[name]
    source = out / "base" / base
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(source, dtype=torch.bfloat16, quantization_config=transformers.TorchAoConfig(config)).eval()
    folder = out / name
    model.save_pretrained(folder / "safetensors")
    (folder / "safetensors" / "generation_config.json").unlink(missing_ok=True)
    weights = {fqn: weight for fqn, weight in model.named_parameters() if is_quantized(weight)}
    plain = {fqn: weight.data.dequantize().contiguous().clone() for fqn, weight in weights.items()}
    classes = {fqn: type(weight.data).__name__ for fqn, weight in weights.items()}
    save_file(plain, folder / "dequant.safetensors")
    reference = load(source, dtype=torch.float32).eval()
    missing = reference.load_state_dict({fqn: weight.float() for fqn, weight in plain.items()}, strict=False)
    assert not missing.unexpected_keys, missing
    save_file({"input_ids": input_ids(), "logits": logits_of(model), "logits_f32_dequant": logits_of(reference)},
              folder / "expected.safetensors")
    return {"id": name, "model": base, "config": name.rsplit("-", 1)[1], "classes": classes, "forms": ["safetensors"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for name in MODELS:
        make_base(out, name)
    manifest = {"seed": SEED,
                "versions": {name: version(name) for name in ("torch", "torchao", "transformers")},
                "models": {name: {"class": family + "ForCausalLM"} for name, (family, _) in MODELS.items()},
                "checkpoints": [make_quantized(out, name) for name in QUANTIZED]}
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
