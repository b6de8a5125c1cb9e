# SPDX-License-Identifier: Apache-2.0
"""Arrays of other libraries, which are only imported where the caller uses them already."""

import sys

# Element types that numpy knows through ml_dtypes but cannot export; the plain type of the same size carries them.
_CARRIERS = {
    "bfloat16": "uint16",
    "float8_e4m3fn": "uint8",
    "float8_e5m2": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2fnuz": "uint8",
    "float8_e8m0fnu": "uint8",
}


def _library(array):
    """Top-level package that defines the array's class."""
    return type(array).__module__.partition(".")[0]


def exportable(array):
    """The array itself, or a view or detached alias of it that can be exported."""
    library = _library(array)
    if library == "torch":
        return array.detach() if array.requires_grad else array
    if library == "numpy" and array.dtype.name in _CARRIERS:
        from ._torchao_cpp import as_tensor

        return as_tensor(array.view(_CARRIERS[array.dtype.name])).view(array.dtype.name)
    return array


def like(array, tensor):
    """A Tensor as an array of the library of `array`."""
    library = _library(array)
    if library == "torch":
        return to_torch(tensor)
    if library == "numpy":
        return to_numpy(tensor)
    if library in ("jax", "jaxlib"):
        return sys.modules["jax"].dlpack.from_dlpack(tensor)
    if library == "cupy":
        return sys.modules["cupy"].from_dlpack(tensor)
    return tensor


def to_torch(tensor):
    """A torch tensor over the memory of a Tensor."""
    import torch

    return torch.from_dlpack(tensor)


def to_numpy(tensor):
    """A numpy array over the memory of a Tensor."""
    import numpy

    if tensor.dtype not in _CARRIERS:
        return numpy.from_dlpack(tensor)
    try:
        import ml_dtypes
    except ImportError as error:
        raise ImportError(
            f"numpy has no {tensor.dtype}; install ml_dtypes, or use .view('{_CARRIERS[tensor.dtype]}')"
        ) from error
    carrier = numpy.from_dlpack(tensor.view(_CARRIERS[tensor.dtype]))
    return carrier.view(getattr(ml_dtypes, tensor.dtype))
