# SPDX-License-Identifier: Apache-2.0
"""Our threads beside torch's in a worker of vLLM."""

import torch

import torchao_cpp

_is_prepared = False


def prepare() -> None:
    """Shares torch's OpenMP threads, which vLLM has bound to cores (VLLM_CPU_OMP_THREADS_BIND).

    Threads of our own would inherit the one core of the thread that starts them, and wait for torch's, which stay
    awake on their cores for a while after each op.
    """
    global _is_prepared
    if not _is_prepared:
        _is_prepared = True
        torchao_cpp.set_threads(torch.get_num_threads())
        torchao_cpp.use_openmp_threads()
