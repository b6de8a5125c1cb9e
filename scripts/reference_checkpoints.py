# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that torchao itself makes, stores and loads; for check_with_transformers.py.

torch and torchao are imported where they are used, so that --help needs neither.
"""
import json
from contextlib import ExitStack

PLAIN = "Tensor"


def safetensors_files(path):
    """The files of weights of a model folder, or the one file."""
    return sorted(path.glob("model*.safetensors")) if path.is_dir() else [path]


def read_tensors(path):
    """All tensors of a folder or a file, as stored."""
    from safetensors.torch import load_file

    tensors = {}
    for file in safetensors_files(path):
        tensors.update(load_file(file))
    return tensors


def read_metadata(folder):
    from safetensors import safe_open

    metadata = {}
    with ExitStack() as stack:
        for path in safetensors_files(folder):
            metadata.update(stack.enter_context(safe_open(path, framework="pt")).metadata() or {})
    return metadata


def is_quantized(folder):
    metadata = read_metadata(folder)
    return any(json.loads(metadata[name])["_type"] != PLAIN for name in json.loads(metadata.get("tensor_names", "[]")))


def load_with_torchao(folder):
    """name -> tensor or tensor subclass, by torchao's own function."""
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    metadata = read_metadata(folder)
    tensors = read_tensors(folder)
    if "tensor_names" not in metadata:
        return tensors
    weights, left = unflatten_tensor_state_dict(tensors, metadata)
    if left:
        raise ValueError(f"torchao left {', '.join(sorted(left)[:3])}")
    return weights


def save_with_torchao(folder, weights, config):
    """A model folder of these weights; `config` is its config.json."""
    from safetensors.torch import save_file
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    tensors, metadata = flatten_tensor_state_dict(weights)
    folder.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {**metadata, "format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def names_of(weight):
    """(names of its parts, names of its attributes); a plain tensor has one part without a name."""
    if type(weight).__name__ == PLAIN:
        return [""], []
    optional = getattr(weight, "optional_tensor_data_names", [])
    attributes = [*getattr(weight, "optional_tensor_attribute_names", []), *weight.tensor_attribute_names]
    return [*optional, *weight.tensor_data_names], attributes


def random_weight(n=64, k=128, dtype=None):
    import torch

    return (torch.randn(n, k, generator=torch.Generator().manual_seed(n * 1000 + k)) * 0.05).to(dtype or torch.bfloat16)


def random_codes(shape, dtype):
    import torch

    info = torch.iinfo(dtype)
    return torch.randint(info.min, info.max, shape, dtype=dtype, generator=torch.Generator().manual_seed(len(shape)))


def pre_scale(k=128):
    import torch

    return torch.linspace(0.5, 2.0, k).to(torch.bfloat16)


def as_model(weight):
    """Under the name of a linear, with a bias beside it."""
    import torch

    prefix = "model.layers.0.self_attn.q_proj"
    return {f"{prefix}.weight": weight, f"{prefix}.bias": torch.arange(weight.shape[0]).to(torch.bfloat16)}


def quantized(config):
    """What torchao's quantize_ makes of a linear."""
    import torch
    from torchao.quantization import quantize_

    n, k = 64, 128
    linear = torch.nn.Linear(k, n, bias=False, dtype=torch.bfloat16)
    linear.weight = torch.nn.Parameter(random_weight(n, k), requires_grad=False)
    model = torch.nn.Sequential(linear)
    quantize_(model, config)
    return model[0].weight.data


def int8_static(is_symmetric, granularity):
    import torch
    from torchao.quantization import Int8StaticActivationInt8WeightConfig
    from torchao.quantization.quant_primitives import MappingType

    mapping = MappingType.SYMMETRIC if is_symmetric else MappingType.ASYMMETRIC
    zero_point = None if is_symmetric else torch.tensor([[3]], dtype=torch.int8)
    scale = torch.tensor([[0.02]], dtype=torch.float32)
    return quantized(
        Int8StaticActivationInt8WeightConfig(
            act_quant_scale=scale, act_quant_zero_point=zero_point, granularity=granularity, act_mapping_type=mapping
        )
    )




def int8(granularity, dtype=None, **kwargs):
    from torchao.quantization import Int8Tensor

    return Int8Tensor.from_hp(random_weight(dtype=dtype), granularity, **kwargs)


def int4_parts(zero_dtype):
    group, n, k = 32, 64, 128
    scale = random_weight(k // group, n).abs()
    zero_point = -scale * 3 if zero_dtype is None else random_codes((k // group, n), zero_dtype)
    return scale, zero_point, [1, group], [n, k]


def int4(activation_dtype=None, act_pre_scale=None):
    import torch
    from torchao.quantization import Int4Tensor

    scale, zero_point, block_size, shape = int4_parts(None)
    qdata = random_codes((shape[0], shape[1] // 2), torch.int8)
    return Int4Tensor(qdata, scale, zero_point, block_size, torch.Size(shape), act_pre_scale, activation_dtype or torch.bfloat16)


def int4_plain_int32(zero_dtype, act_pre_scale=None):
    import torch
    from torchao.quantization import Int4PlainInt32Tensor

    scale, zero_point, block_size, shape = int4_parts(zero_dtype)
    qdata = random_codes((shape[0], shape[1] // 8), torch.int32)
    return Int4PlainInt32Tensor(qdata, scale, zero_point, block_size, torch.Size(shape), act_pre_scale)


def int4_tile_packed(act_pre_scale=None):
    import torch
    from torchao.quantization import Int4TilePackedTo4dTensor

    n, k, padded = 64, 128, 1024
    qdata = random_codes((n // 8, padded // 128, 32, 4), torch.int32)
    scale_and_zero = random_weight(padded // 32, n * 2).reshape(padded // 32, n, 2)
    return Int4TilePackedTo4dTensor(qdata, scale_and_zero, [1, 32], torch.Size([n, k]), act_pre_scale)


def nvfp4(has_tensor_scale, is_swizzled, act_scale=None):
    import torch
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, QuantizeTensorToNVFP4Kwargs

    kwargs = QuantizeTensorToNVFP4Kwargs(is_swizzled_scales=is_swizzled, use_dynamic_per_tensor_scale=False)
    return NVFP4Tensor.to_nvfp4(
        random_weight(),
        per_tensor_scale=torch.tensor(0.001) if has_tensor_scale else None,
        act_per_tensor_scale=None if act_scale is None else torch.tensor(act_scale),
        is_swizzled_scales=is_swizzled,
        act_quant_kwargs=None if act_scale is None else kwargs,
    )


def mx(elem_dtype, mode, is_swizzled):
    import torch
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    return MXTensor.to_mx(random_weight(), getattr(torch, elem_dtype), 32, ScaleCalculationMode[mode], is_swizzled_scales=is_swizzled)


def float8(granularity, dtype=None, act=False):
    import torch
    from torchao.quantization import Float8Tensor, PerRow
    from torchao.quantization.quantize_.workflows.float8.float8_tensor import QuantizeTensorToFloat8Kwargs

    kwargs = QuantizeTensorToFloat8Kwargs(torch.float8_e4m3fn, PerRow(), hp_value_lb=1e-6, hp_value_ub=2.5) if act else None
    return Float8Tensor.from_hp(random_weight(), dtype or torch.float8_e4m3fn, granularity=granularity, act_quant_kwargs=kwargs)


def intx(bits, group_size, mapping="SYMMETRIC", dtype=None, activation=None):
    import torch
    from torchao.quantization import IntxUnpackedToInt8Tensor
    from torchao.quantization.quant_primitives import MappingType

    return IntxUnpackedToInt8Tensor.from_hp(
        random_weight(dtype=dtype),
        [1, group_size],
        getattr(torch, f"int{bits}"),
        mapping_type=MappingType[mapping],
        activation_quantization=activation,
    )


def makers():
    """name -> function that gives the weights of a checkpoint."""
    import torch
    from torchao.quantization import PerBlock, PerGroup, PerRow, PerTensor

    weights = {
        "Int8Tensor static, symmetric": lambda: int8_static(True, PerTensor()),
        "Int8Tensor static, asymmetric": lambda: int8_static(False, PerTensor()),
        "Int8Tensor static, weight per row": lambda: int8_static(True, [PerTensor(), PerRow()]),
        "Int8Tensor act_pre_scale": lambda: int8(PerRow(), act_pre_scale=pre_scale()),
        "Int8Tensor per group, float16": lambda: int8(PerGroup(32), torch.float16),
        "Int8Tensor float32, reduced range": lambda: int8(PerRow(), torch.float32, reduce_range=True),
        "Float8Tensor per tensor": lambda: float8(PerTensor()),
        "Float8Tensor in blocks": lambda: float8(PerBlock([64, 128])),
        "Float8Tensor e5m2": lambda: float8(PerRow(), torch.float8_e5m2),
        "Float8Tensor clamped activation": lambda: float8(PerRow(), act=True),
        "Int4Tensor": int4,
        "Int4Tensor act_pre_scale": lambda: int4(act_pre_scale=pre_scale()),
        "Int4Tensor float8 activation": lambda: int4(torch.float8_e4m3fn),
        "Int4PlainInt32Tensor of an XPU": lambda: int4_plain_int32(torch.int8),
        "Int4PlainInt32Tensor of an NPU": lambda: int4_plain_int32(None, pre_scale()),
        "Int4TilePackedTo4dTensor": int4_tile_packed,
        "Int4TilePackedTo4dTensor act_pre_scale": lambda: int4_tile_packed(pre_scale()),
        "IntxUnpackedToInt8Tensor int1": lambda: intx(1, 128),
        "IntxUnpackedToInt8Tensor int7, zero points": lambda: intx(7, 32, "ASYMMETRIC", torch.float32),
        "IntxUnpackedToInt8Tensor activation": lambda: intx(4, 64, dtype=torch.float16, activation="int8_asym_per_token"),
        "MXTensor fp8, plain scales": lambda: mx("float8_e4m3fn", "FLOOR", False),
        "MXTensor fp4, swizzled scales": lambda: mx("float4_e2m1fn_x2", "EVEN", True),
        "NVFP4Tensor one level": lambda: nvfp4(False, False),
        "NVFP4Tensor two levels, swizzled": lambda: nvfp4(True, True),
        "NVFP4Tensor static activation": lambda: nvfp4(True, True, 0.002),
    }
    return {name: lambda make=make: as_model(make()) for name, make in weights.items()}
