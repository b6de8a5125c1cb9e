# SPDX-License-Identifier: Apache-2.0
"""torch.ops.torchao_cpp.linear: one op for every quantized linear, opaque to torch.compile and CUDA graphs."""

import torch

from torchao_cpp import fused_linear_workspace_bytes, register_torch_linear, run_fused_linear

_library = torch.library.Library("torchao_cpp", "DEF")
# x [.., K], handle int64 [1] on the CPU (FusedLinear.handle), bias [N] -> [.., N].
_library.define(
    "linear(Tensor x, Tensor handle, Tensor? bias, int output_size) -> Tensor",
    tags=(torch.Tag.needs_fixed_stride_order, torch.Tag.pt2_compliant_tag),
)


def _rows(x):
    return x.numel() // x.shape[-1]


def _run_on_cpu(x, handle, bias, output_size):
    """For a torch without the entries of register_torch_linear()."""
    x = x.contiguous()
    bias = None if bias is None else bias.contiguous()
    y = x.new_empty((*x.shape[:-1], output_size))
    run_fused_linear(
        handle.item(), x.data_ptr(), _rows(x), 0 if bias is None else bias.data_ptr(), y.data_ptr()
    )
    return y


def _run_on_cuda(x, handle, bias, output_size):
    x = x.contiguous()
    bias = None if bias is None else bias.contiguous()
    y = x.new_empty((*x.shape[:-1], output_size))
    number = handle.item()
    rows = _rows(x)
    # Of torch's allocator, which is what a CUDA graph may capture.
    workspace = torch.empty(
        fused_linear_workspace_bytes(number, rows), dtype=torch.uint8, device=x.device
    )
    run_fused_linear(
        number,
        x.data_ptr(),
        rows,
        0 if bias is None else bias.data_ptr(),
        y.data_ptr(),
        workspace.data_ptr(),
        torch.cuda.current_stream(x.device).cuda_stream,
    )
    return y


def _shape_of_result(x, handle, bias, output_size):
    return x.new_empty((*x.shape[:-1], output_size))


if not register_torch_linear():
    _library.impl("linear", _run_on_cpu, "CPU")
_library.impl("linear", _run_on_cuda, "CUDA")
torch.library.register_fake("torchao_cpp::linear", _shape_of_result, lib=_library)

linear = torch.ops.torchao_cpp.linear.default
