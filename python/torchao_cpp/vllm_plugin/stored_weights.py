# SPDX-License-Identifier: Apache-2.0
"""Weights of a layer as a torchao checkpoint holds them, cut to this rank's share while vLLM's loader hands them over."""

import torch

from torchao_cpp import ShapeError, WeightTensor
from torchao_cpp._torchao import from_torchao, is_torchao_tensor

_QKV = {"q": 0, "k": 1, "v": 2}


class StoredWeights:
    """Collects one layer's weights: a WeightTensor or a plain torch tensor for each part on this rank."""

    def __init__(self, layer: torch.nn.Module, prefix: str, input_size_per_partition: int, output_partition_sizes: list[int]):
        self.layer = layer
        self.prefix = prefix
        self.input_size = input_size_per_partition
        self.sizes = list(output_partition_sizes)
        self.parts: list = [None] * len(self.sizes)

    def load(self, param, loaded_weight, shard_id=None) -> None:
        """vLLM's weight_loader of the parameter "weight"."""
        weight = loaded_weight
        if is_torchao_tensor(loaded_weight):
            weight = from_torchao(loaded_weight, f"{self.prefix}.weight")
        if shard_id is None:
            shards = range(len(self.sizes))
        elif isinstance(shard_id, tuple):
            shards = shard_id
        else:
            shards = (_QKV.get(shard_id, shard_id),)
        start = 0
        for shard in shards:
            # More than one: fused on disk too.
            end = start + self._whole_size(shard) if len(shards) > 1 else weight.shape[0]
            self.parts[shard] = self._on_this_rank(self._cut(weight, 0, start, end), shard)
            start = end
        if start != weight.shape[0]:
            raise ShapeError(f"{self.prefix}.weight has {weight.shape[0]} rows; expected {start}")

    def _whole_size(self, shard: int) -> int:
        """Rows of the part in the checkpoint."""
        if hasattr(self.layer, "total_num_kv_heads"):
            heads = self.layer.total_num_heads if shard == 0 else self.layer.total_num_kv_heads
            head_size = self.layer.head_size if shard < 2 else getattr(self.layer, "v_head_size", self.layer.head_size)
            return heads * head_size
        if hasattr(self.layer, "output_sizes"):
            return self.layer.output_sizes[shard]
        return self.layer.output_size

    def _on_this_rank(self, weight, shard: int):
        rows = self.sizes[shard]
        rank = self.layer.tp_rank
        if weight.shape[0] != rows:
            if shard > 0:
                rank //= getattr(self.layer, "num_kv_head_replicas", 1)
            weight = self._cut(weight, 0, rank * rows, (rank + 1) * rows)
        if weight.shape[1] != self.input_size:
            weight = self._cut(weight, 1, rank * self.input_size, (rank + 1) * self.input_size)
        if isinstance(weight, torch.Tensor):
            weight = weight.to(self.layer.params_dtype).contiguous()
        return weight

    def _cut(self, weight, dim: int, start: int, end: int):
        if start == 0 and end == weight.shape[dim]:
            return weight
        if isinstance(weight, WeightTensor):
            try:
                return weight.slice(dim, start, end)
            except ShapeError as error:
                raise ShapeError(f"layer '{self.prefix}', rank {self.layer.tp_rank} of {self.layer.tp_size}: {error}") from error
        return weight.narrow(dim, start, end - start)

    def complete(self) -> list:
        """The parts. Raises where the checkpoint lacked one."""
        missing = [i for i, part in enumerate(self.parts) if part is None]
        if missing:
            raise ShapeError(f"{self.prefix}.weight: the checkpoint holds no part {missing} of {len(self.parts)}")
        return self.parts
