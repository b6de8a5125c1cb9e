# SPDX-License-Identifier: Apache-2.0
"""Model folders of Qwen3's architecture as GGUF files for llama.cpp, by the packages gguf and llama-cpp-python."""

import ctypes
import json
import os
import pathlib

import numpy

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    module = name.removesuffix(".weight")
    if module.startswith("model.layers."):
        layer, module = module.removeprefix("model.layers.").split(".", 1)
        return f"blk.{layer}.{NAMES[module]}.weight"
    return f"{NAMES[module]}.weight"


def bfloat16_tensors(path):
    """(name, uint16 array) of every tensor of a safetensors file."""
    data = numpy.memmap(path, mode="r", dtype=numpy.uint8)
    size = int(data[:8].view("<u8")[0])
    for name, tensor in json.loads(bytes(data[8 : 8 + size])).items():
        if name == "__metadata__":
            continue
        if tensor["dtype"] != "BF16":
            raise ValueError(f"{name} is {tensor['dtype']}; expected BF16")
        begin, end = (8 + size + offset for offset in tensor["data_offsets"])
        yield name, numpy.frombuffer(data[begin:end].tobytes(), "<u2").reshape(tensor["shape"])


def write_bfloat16(folder, target):
    """The model of `folder` as it is; norms become float32, as llama.cpp wants them. It has no tokenizer."""
    import gguf

    config = json.loads(pathlib.Path(folder, "config.json").read_text())
    if config["model_type"] != "qwen3":
        raise ValueError(f"model_type is {config['model_type']}; expected qwen3")
    writer = gguf.GGUFWriter(target, "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        for name, values in bfloat16_tensors(path):
            if values.ndim == 1:
                writer.add_tensor(gguf_name(name), (values.astype(numpy.uint32) << 16).view(numpy.float32))
            else:
                writer.add_tensor(
                    gguf_name(name), values.view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16
                )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantize(source, target, file_type):
    """llama.cpp's own files of that type ("Q8_0", "Q4_0"): Q4_0 has a tied embedding as Q6_K."""
    from llama_cpp import llama_cpp

    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)  # A line for each tensor.
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    status = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(options))
    if status != 0:
        raise RuntimeError(f"llama_model_quantize of {source} to {file_type} gives {status}")
