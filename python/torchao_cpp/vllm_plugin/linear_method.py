# SPDX-License-Identifier: Apache-2.0
"""vLLM's LinearMethodBase over torchao_cpp's linears."""

import torch
from torch.nn.parameter import Parameter
from vllm.logger import init_logger
from vllm.model_executor.layers.linear import LinearMethodBase, UnquantizedLinearMethod
from vllm.model_executor.utils import set_weight_attrs

import torchao_cpp

from . import threads
from .operator import linear
from .stored_weights import StoredWeights

logger = init_logger("vllm.torchao_cpp")


class TorchAOCppLinearMethod(LinearMethodBase):
    """Takes the layer's weight as the checkpoint holds it, or quantizes it after loading; runs it through one custom op.

    decisions: one LayerDecision, or one for each part of a fused layer.
    """

    def __init__(self, decisions, is_checkpoint_torchao_serialized: bool, prefix: str):
        self.decisions = decisions
        self.is_serialized = is_checkpoint_torchao_serialized
        self.prefix = prefix
        self.plain_method = None  # vLLM's own, for a weight that torchao leaves alone.

    def create_weights(
        self,
        layer: torch.nn.Module,
        input_size_per_partition: int,
        output_partition_sizes: list[int],
        input_size: int,
        output_size: int,
        params_dtype: torch.dtype,
        **extra_weight_attrs,
    ):
        self.output_partition_sizes = list(output_partition_sizes)
        self.params_dtype = params_dtype
        if not self.is_serialized:
            # Loaded plain and quantized in process_weights_after_loading, so vLLM's own parameter and loader serve.
            UnquantizedLinearMethod().create_weights(
                layer,
                input_size_per_partition,
                output_partition_sizes,
                input_size,
                output_size,
                params_dtype,
                **extra_weight_attrs,
            )
            return
        self.stored = StoredWeights(layer, self.prefix, input_size_per_partition, output_partition_sizes)
        # Holds the name for the loader; the values go to `stored`, which knows the format.
        weight = Parameter(torch.empty(0, dtype=params_dtype), requires_grad=False)
        set_weight_attrs(weight, {"input_dim": 1, "output_dim": 0})
        extra_weight_attrs["weight_loader"] = self.stored.load
        set_weight_attrs(weight, extra_weight_attrs)
        layer.register_parameter("weight", weight)

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        threads.prepare()
        device = layer.weight.device
        if self.is_serialized:
            parts = self.stored.complete()
            del self.stored
        else:
            parts = self._quantize(layer.weight.data)
        if all(isinstance(part, torch.Tensor) for part in parts):
            self._keep_plain(layer, torch.cat(parts).to(device) if len(parts) > 1 else parts[0].to(device))
            return
        attach_linear(layer, _joined(parts), self.params_dtype, device)
        logger.debug("%s: %s", self.prefix, layer.torchao_cpp_linear.kernels)
        layer.register_parameter(
            "weight", Parameter(torch.empty(0, dtype=self.params_dtype, device=device), requires_grad=False)
        )

    def apply(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if self.plain_method is not None:
            return self.plain_method.apply(layer, x, bias)
        return linear(x, layer.torchao_cpp_handle, bias, sum(self.output_partition_sizes))

    def _quantize(self, weight: torch.Tensor) -> list:
        """Quantizes the fused weight as a whole, as torchao does in vLLM, unless its parts have configs of their own."""
        weight = weight.cpu().contiguous()
        if len(self.decisions) == 1:
            return [self._quantize_part(weight, self.decisions[0])]
        rows = weight.split(self.output_partition_sizes)
        return [self._quantize_part(part, decision) for part, decision in zip(rows, self.decisions, strict=True)]

    def _quantize_part(self, weight: torch.Tensor, decision):
        if decision.config is None:
            return weight
        outcome = torchao_cpp.quantize_tensor(weight, decision.config)
        if outcome.notice:
            logger.info_once("%s: %s", self.prefix, outcome.notice)
        if outcome.weight is None:
            logger.info("%s stays unquantized: %s", self.prefix, outcome.reason)
            return weight
        return outcome.weight

    def _keep_plain(self, layer: torch.nn.Module, weight: torch.Tensor) -> None:
        if self.is_serialized:
            layer.register_parameter("weight", Parameter(weight, requires_grad=False))
        self.plain_method = UnquantizedLinearMethod()
        self.plain_method.process_weights_after_loading(layer)


def attach_linear(layer: torch.nn.Module, parts: list, dtype: torch.dtype, device: torch.device) -> None:
    """Packs the parts (WeightTensor or plain torch tensor) for the op, which finds them by layer.torchao_cpp_handle."""
    name = "cpu" if device.type == "cpu" else f"cuda:{device.index or 0}"
    parts = [part.cpu() if isinstance(part, torch.Tensor) else part for part in parts]
    layer.torchao_cpp_linear = torchao_cpp.FusedLinear(
        [torchao_cpp.Linear(part, dtype, device=name) for part in parts]
    )
    # A graph sees the handle as an input, so that layers of one shape share their compiled code.
    handle = torch.tensor([layer.torchao_cpp_linear.handle], dtype=torch.int64, device="cpu")
    layer.register_parameter("torchao_cpp_handle", Parameter(handle, requires_grad=False))


def _joined(parts: list) -> list:
    """Neighbours as one weight where that changes no value."""
    if all(isinstance(part, torchao_cpp.WeightTensor) for part in parts):
        if len({part.class_name for part in parts}) == 1:
            joined = torchao_cpp.WeightTensor.concat_rows(parts)
            if joined is not None:
                return [joined]
    return parts
