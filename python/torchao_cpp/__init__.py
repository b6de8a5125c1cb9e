# SPDX-License-Identifier: Apache-2.0
"""torchao-quantized weights, linears and language models in C++, without torch.

    import torchao_cpp

    weight = torchao_cpp.quantize(w, "int4wo-128")       # w: a torch, numpy, jax or cupy array [N, K]
    y = torchao_cpp.linear(x, weight)                    # an array of x's library
    w2 = weight.dequantize()                             # a Tensor; .torch() and .numpy() share it

    checkpoint = torchao_cpp.Checkpoint("model-int4")    # name -> Tensor or WeightTensor
    llm = torchao_cpp.LLM("models/demo", quantization="int8dq")
    print(llm.generate("The Linux kernel is", max_new_tokens=32).text)

Arrays cross by DLPack without copies. A config is a shorthand (see shorthands()), torchao's JSON, its dict, or a
config object of torchao itself. Everything this package raises is an Error, and also the usual type for its cause:
ValueError, NotImplementedError, OSError or RuntimeError. Long calls release the GIL.
"""

from ._torchao_cpp import (  # noqa: F401
    AOBaseConfig,
    Checkpoint,
    CheckpointEntry,
    CheckpointError,
    CheckpointWriter,
    ConfigError,
    DecisionSource,
    DeviceError,
    Error,
    FusedLinear,
    GenerationResult,
    IoError,
    LayerDecision,
    LLM,
    Linear,
    QuantizeOutcome,
    SelectionMode,
    ShapeError,
    Tensor,
    Tokenizer,
    TorchAOConfig,
    UnsupportedError,
    WeightTensor,
    __version__,
    as_config,
    as_tensor,
    config_from_dict,
    config_from_shorthand,
    config_to_dict,
    convert_model,
    dequantize,
    dequantize_model,
    diff_checkpoints,
    explain_model,
    fused_linear_workspace_bytes,
    inspect_model,
    kernels,
    linear,
    make_random_model,
    quantize,
    quantize_model,
    quantize_tensor,
    register_torch_linear,
    run_fused_linear,
    set_threads,
    should_skip,
    shorthands,
    threads,
    use_openmp_threads,
    weight_classes,
    write_safetensors,
)

__all__ = [name for name in dir() if not name.startswith("_")]
