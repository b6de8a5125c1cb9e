# SPDX-License-Identifier: Apache-2.0
"""Quantizes one torch weight with torchao_cpp and compares it with torchao, bit by bit, where torchao is installed.

    python quantize_weight.py [CONFIG]        # a shorthand such as 8da4w (default: int8dq)
"""

import sys

import torch

import torchao_cpp

torch.manual_seed(0)
config = torchao_cpp.as_config(sys.argv[1] if len(sys.argv) > 1 else "int8dq")
linear = torch.nn.Linear(1024, 512, bias=False, dtype=torch.bfloat16)
x = torch.randn(4, 1024, dtype=torch.bfloat16)

weight = torchao_cpp.quantize(linear.weight, config)
y = torchao_cpp.linear(x, weight)  # a torch tensor
print(f"{weight}: {linear.weight.nbytes} -> {weight.nbytes} bytes, run by {torchao_cpp.Linear(weight).kernel}")
with torch.no_grad():
    print(f"largest difference to the unquantized layer: {(y - linear(x)).abs().max().item():.4f}")

try:
    from torchao.core.config import config_from_dict
    from torchao.quantization import quantize_
except ImportError:
    sys.exit("torchao is not installed: nothing to compare with")

module = torch.nn.Sequential(linear)
quantize_(module, config_from_dict(config.to_dict()))
theirs = torchao_cpp.WeightTensor.from_torchao(module[0].weight)
for name, part in weight.parts.items():
    same = torch.equal(part.torch().view(torch.uint8), theirs.parts[name].torch().view(torch.uint8))
    print(f"{name}: {'equal to torchao bit for bit' if same else 'DIFFERENT'}")
with torch.no_grad():
    print(f"largest difference of the products: {(y - module(x)).abs().max().item():.4f}")
