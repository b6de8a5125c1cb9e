# SPDX-License-Identifier: Apache-2.0
"""Our threads beside torch's in a worker of vLLM."""

import torch

import torchao_cpp

_is_prepared = False


def prepare() -> None:
    """As many threads as torch has here, which vLLM sets by VLLM_CPU_OMP_THREADS_BIND."""
    global _is_prepared
    if not _is_prepared:
        _is_prepared = True
        torchao_cpp.set_threads(torch.get_num_threads())
