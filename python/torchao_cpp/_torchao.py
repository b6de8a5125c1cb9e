# SPDX-License-Identifier: Apache-2.0
"""Weights of an installed torchao: tensor subclasses to WeightTensor. Needs neither torch nor torchao to be imported."""

import dataclasses
import enum

from ._torchao_cpp import UnsupportedError, WeightTensor


def is_torchao_tensor(tensor):
    """True for a tensor subclass that names its parts as torchao's do."""
    return hasattr(tensor, "tensor_data_names") and hasattr(tensor, "tensor_attribute_names")


def from_torchao(tensor, fqn="weight"):
    """A torchao tensor subclass as a WeightTensor that shares its memory."""
    if not is_torchao_tensor(tensor):
        raise UnsupportedError(
            f"{fqn} is a {type(tensor).__name__}, which does not name its parts; expected a torchao tensor such as Int8Tensor"
        )
    names = [*getattr(tensor, "optional_tensor_data_names", []), *tensor.tensor_data_names]
    parts = {}
    for name in names:
        part = getattr(tensor, name)
        if part is not None:
            parts[name] = _plain(part)
    attributes = [*getattr(tensor, "optional_tensor_attribute_names", []), *tensor.tensor_attribute_names]
    return WeightTensor.from_parts(
        type(tensor).__name__, {name: encode(getattr(tensor, name)) for name in attributes}, parts, fqn
    )


def _plain(part):
    part = part.detach()
    if part.device.type != "cpu":
        part = part.cpu()
    return part.contiguous()


def encode(value):
    """An attribute as torchao writes it into safetensors metadata."""
    if isinstance(value, enum.Enum):
        return {"_type": type(value).__name__, "_data": value.name}
    if dataclasses.is_dataclass(value):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"_type": type(value).__name__, "_data": fields}
    if hasattr(value, "_asdict"):
        return {"_type": type(value).__name__, "_data": {k: encode(v) for k, v in value._asdict().items()}}
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return {"_type": "torch.dtype", "_data": str(value).partition(".")[2]}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value
