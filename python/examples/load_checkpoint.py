# SPDX-License-Identifier: Apache-2.0
"""Lists a model folder as the hub has them, safetensors or .bin, and generates from it, without torch.

    python load_checkpoint.py DIR [PROMPT]    # e.g. a folder that huggingface_hub's snapshot_download returned
"""

import collections
import sys

import torchao_cpp

directory = sys.argv[1]
prompt = sys.argv[2] if len(sys.argv) > 2 else "The Linux kernel is"

checkpoint = torchao_cpp.Checkpoint(directory)
classes = collections.Counter(checkpoint.entry(name).class_name for name in checkpoint)
print(f"{len(checkpoint)} weights, {checkpoint.nbytes / 2**20:.1f} MiB: {dict(classes)}")
for name in checkpoint:
    if checkpoint.entry(name).is_quantized:
        weight = checkpoint[name]
        print(f"{name}: {weight}, dequantized {weight.dequantize()}")
        break

llm = torchao_cpp.LLM(directory)
result = llm.generate(prompt, max_new_tokens=32)
print(prompt + result.text)
print(f"{result.decode_tokens / result.decode_seconds:.1f} tokens/s")
