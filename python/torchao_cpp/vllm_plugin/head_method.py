# SPDX-License-Identifier: Apache-2.0
"""The output head, which reads as much memory for a token as all layers of a small model together."""

import torch
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

from . import threads
from .linear_method import TorchAOCppLinearMethod, attach_linear
from .operator import linear


class PlainHeadMethod(UnquantizedEmbeddingMethod):
    """An unquantized head on the CPU, multiplied by our kernel: products of the dtype, summed in float32."""

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        threads.prepare()
        # layer.weight stays: it may be the embedding's, and vLLM reads it for a head_dtype of its own.
        attach_linear(layer, [layer.weight.data], layer.weight.dtype, layer.weight.device)

    def apply(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return linear(x, layer.torchao_cpp_handle, bias, layer.weight.shape[0])


class QuantizedHeadMethod(TorchAOCppLinearMethod):
    """A head that a rule names. Tied to the embedding, it is a quantized copy; the embedding stays as it is."""

    def tie_weights(self, layer: torch.nn.Module, embed_tokens: torch.nn.Module):
        layer.weight = embed_tokens.weight
        if self.is_serialized:
            # The checkpoint holds one weight for both, and that is the embedding's.
            layer.quant_method = PlainHeadMethod()
        return layer
