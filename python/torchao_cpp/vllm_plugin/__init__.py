# SPDX-License-Identifier: Apache-2.0
"""torchao's linears of torchao_cpp inside vLLM.

vLLM finds register() through the entry point vllm.general_plugins. From then on
- checkpoints with quant_method "torchao" run on our linears,
- --quantization torchao_cpp (or torchao) quantizes while loading, with the config from --hf-overrides:
  quantization_config_file or quantization_config_dict_json.

VLLM_PLUGINS without "torchao_cpp" leaves vLLM as it is.
"""


def register():
    """Registers the quantization config with vLLM; may be called any number of times."""
    from .config import register_config

    register_config()
