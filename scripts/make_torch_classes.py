#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the test data of weight classes that torchao 0.18 stores as .bin alone.

    make_torch_classes.py GEMLITE_SOURCE

writes tests/data/torch_classes/weights.bin (one weight of each class, saved by torch) and
dequant.safetensors (what torchao dequantizes), and adds UIntxBitPackedTensor to
tests/data/golden. Needs torch 2.13, torchao 0.18, safetensors and an unpacked source of gemlite
0.5.1. No GPU: gemlite's kernels are not run, so outputs of its linear are formed here by the
formula of its kernel (dequantize in the dtype of the scales, product in float32, one rounding,
bias added after another).
"""

import json
import pathlib
import sys

import torch

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/data/golden"
CLASSES = ROOT / "tests/data/torch_classes"


def prepare_gemlite(source):
    """Lets gemlite be imported, and torchao call it, without a GPU."""
    import triton

    class Properties:
        multi_processor_count, major, minor, name, total_memory = 1, 9, 0, "H100", 1 << 30

    class Target:
        backend, arch, warp_size = "cuda", 90, 32

    class Driver:
        get_current_target = staticmethod(Target)
        get_current_device = staticmethod(lambda: 0)

        class utils:
            get_device_properties = staticmethod(lambda *_: {"max_shared_mem": 1 << 17})

    triton.runtime.driver._active = Driver()
    torch.cuda.get_device_properties = lambda *_, **__: Properties()
    torch.cuda.get_device_capability = lambda *_, **__: (9, 0)
    torch.cuda.get_device_name = lambda *_, **__: "H100"
    torch.cuda.current_device = lambda: 0
    torch.Tensor.cuda = lambda self, *_, **__: self
    sys.path.insert(0, source)
    import gemlite.bitpack
    import torchao.quantization.quant_primitives as primitives

    gemlite.bitpack.unpack_over_rows = gemlite.bitpack.unpack_over_rows_torch
    hqq = primitives._choose_qparams_and_quantize_affine_hqq
    primitives._choose_qparams_and_quantize_affine_hqq = lambda w, **kw: hqq(w, device="cpu", **kw)


def uintx(weight, **kwargs):
    from torchao.prototype.quantization.uintx.uintx_bit_packed_tensor import UIntxBitPackedTensor

    return UIntxBitPackedTensor.from_hp(weight, **kwargs)


def gemlite_weight(q):
    """The weight [N, K] as gemlite's kernel forms it."""
    import gemlite.bitpack

    k = q.gemlite_kwargs["in_features"]
    scale = q.scale.t().repeat_interleave(q.group_size, 1)
    if q.bit_width == 8:
        return q.qdata.t().to(scale.dtype) * scale
    codes = gemlite.bitpack.unpack_over_rows(q.qdata, W_nbits=4, num_output_rows=k, dtype=torch.uint8).t()
    zero = q.zero_point.t().repeat_interleave(q.group_size, 1)
    if q.gemlite_kwargs["W_group_mode"] == 4:
        return (codes.float() * scale.float() + zero.float()).to(scale.dtype)
    return (codes.to(scale.dtype) - zero) * scale


def golden_entry(case, dtype, config, fields, kwargs):
    from safetensors.torch import save_file

    n, k = 16, 64
    torch.manual_seed(1)
    weight = (torch.randn(n, k) * 0.05).to(dtype)
    q = uintx(weight, **kwargs)
    x = torch.randn(5, k).to(dtype)
    bias = torch.randn(n).to(dtype)
    tensors = {"weight": weight, "q.qdata": q.qdata, "q.scale": q.scale,
               "q.zero_point": q.zero_point, "dequant": q.dequantize(), "x": x, "bias": bias}
    expect = {name: {"kind": "exact"} for name in ("q.qdata", "q.scale", "q.zero_point", "dequant")}
    outputs = []
    if kwargs.get("mode") != "dynamic":
        y = (x.float() @ gemlite_weight(q).float().t()).to(dtype)
        tensors.update(y_m5=y, yb_m5=y + bias)
        outputs = ["y_m5", "yb_m5"]
        rtol = 3 * 2.0 ** (-8 if dtype == torch.bfloat16 else -11)
        expect.update({o: {"kind": "dot", "rtol": rtol, "atol_dot": 2.0 ** -10} for o in outputs})
    short = "bf16" if dtype == torch.bfloat16 else "f16"
    file = f"{case}.{short}.{n}x{k}.safetensors"
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, GOLDEN / file)
    name = lambda t: str(t.dtype).removeprefix("torch.")
    return {
        "file": file, "case": case, "variant": "base", "weight_dtype": short, "N": n, "K": k,
        "class": "UIntxBitPackedTensor", "via": "from_hp",
        "config": {"_type": config, "_version": 1, "_data": fields},
        "attributes": {"gemlite_kwargs": q.gemlite_kwargs, "bit_width": q.bit_width,
                       "group_size": q.group_size, "dtype": name(q)},
        "outputs": outputs,
        "tensors": {t: {"dtype": name(v), "shape": list(v.shape)} for t, v in tensors.items()},
        "expect": expect,
        "note": "gemlite 0.5.1 on the CPU; y by the formula of its kernel (make_torch_classes.py)",
    }


def make_golden():
    weight_only, dynamic = "UIntxWeightOnlyConfig", "Int8DynamicActivationUIntxWeightConfig"
    cases = [
        ("uintxwo_4_g32", torch.float16, weight_only, {"group_size": 32}, {"group_size": 32}),
        ("uintxwo_4_g32_p8", torch.bfloat16, weight_only,
         {"group_size": 32, "packing_bitwidth": 8}, {"group_size": 32, "packing_bitwidth": 8}),
        ("uintxwo_4_row_p16", torch.float16, weight_only,
         {"group_size": None, "packing_bitwidth": 16}, {"group_size": None, "packing_bitwidth": 16}),
        ("uintxwo_8", torch.bfloat16, weight_only, {"group_size": None, "bit_width": 8},
         {"group_size": None, "bit_width": 8}),
        ("uintxda_8", torch.float16, dynamic, {"group_size": None, "bit_width": 8},
         {"group_size": None, "bit_width": 8, "mode": "dynamic"}),
        ("uintxda_4_g32", torch.float16, dynamic, {"group_size": 32},
         {"group_size": 32, "mode": "dynamic"}),
    ]
    path = GOLDEN / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["entries"] = [e for e in manifest["entries"] if e["class"] != "UIntxBitPackedTensor"]
    manifest["entries"] += [golden_entry(*case) for case in cases]
    path.write_text(json.dumps(manifest, separators=(",", ":")))


def opaque(group_size, bias):
    """IntxOpaqueTensor as aten packs it where KleidiAI does not take the weight."""
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
    from torchao.quantization.granularity import PerAxis, PerGroup
    from torchao.quantization.quantize_.workflows import IntxPackingFormat

    torch.backends.kleidiai.is_available = lambda: True
    linear = torch.nn.Linear(64, 16, bias=bias)
    plain = torch.nn.Linear(64, 16, bias=bias)
    plain.load_state_dict(linear.state_dict())
    granularity = PerGroup(group_size) if group_size else PerAxis(0)
    config = dict(weight_dtype=torch.int4, weight_granularity=granularity)
    quantize_(linear, Int8DynamicActivationIntxWeightConfig(
        intx_packing_format=IntxPackingFormat.OPAQUE_ATEN_KLEIDIAI, **config))
    quantize_(plain, Int8DynamicActivationIntxWeightConfig(**config))
    scale = plain.weight.scale
    if group_size:  # torchao rounds the scales of groups
        scale = scale.to(torch.bfloat16).float()
    dequant = plain.weight.qdata.float() * scale.repeat_interleave(64 // scale.shape[1], 1)
    return linear.weight, dequant, plain.bias


def int4_opaque(weight):
    """The weight of the CPU's int4 product, and what that product multiplies with."""
    from torchao.prototype.quantization.int4.int4_opaque_tensor import Int4OpaqueTensor

    q = Int4OpaqueTensor.from_hp(weight, [1, 32])
    identity = torch.eye(weight.shape[1], dtype=weight.dtype)
    return q, torch.nn.functional.linear(identity, q).t()


def make_classes():
    from safetensors.torch import save_file
    from torchao.prototype.quantization.float8_static_quant.prototype_float8_tensor import (
        PrototypeFloat8Tensor)
    from torchao.quantization.quantize_.workflows.float8.float8_tensor import (
        QuantizeTensorToFloat8Kwargs)
    from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import to_nf4

    torch.manual_seed(2)
    weight = lambda dtype, n=16, k=64: (torch.randn(n, k) * 0.05).to(dtype)
    weights, dequant = {}, {}

    def add(name, tensor, values=None):
        weights[name + ".weight"] = tensor
        dequant[name + ".weight"] = (tensor.dequantize() if values is None else values).detach()

    add("uintx4", uintx(weight(torch.float16), group_size=32))
    add("uintx8", uintx(weight(torch.bfloat16), bit_width=8, group_size=None))
    add("uintx8da", uintx(weight(torch.float16), bit_width=8, group_size=None, mode="dynamic"))
    add("float8static", PrototypeFloat8Tensor.from_hp(
        weight(torch.bfloat16), act_quant_scale=torch.tensor([[0.25]]),
        act_quant_kwargs=QuantizeTensorToFloat8Kwargs()))
    nf4 = to_nf4(weight(torch.bfloat16, 64, 256))
    add("nf4", nf4, nf4.get_original_weight())
    add("int4opaque", *int4_opaque(weight(torch.bfloat16, 64, 64)))
    tensor, values, _ = opaque(32, False)
    add("opaque", tensor, values)
    tensor, values, bias = opaque(None, True)
    add("opaque_bias", tensor, values)
    dequant["opaque_bias.bias"] = bias.detach()
    CLASSES.mkdir(exist_ok=True)
    torch.save(weights, CLASSES / "weights.bin")
    save_file({k: v.contiguous().clone() for k, v in dequant.items()}, CLASSES / "dequant.safetensors")


if __name__ == "__main__":
    prepare_gemlite(sys.argv[1])
    make_golden()
    make_classes()
