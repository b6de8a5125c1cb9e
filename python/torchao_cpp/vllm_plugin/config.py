# SPDX-License-Identifier: Apache-2.0
"""The quantization config that vLLM sees. Mirrors vllm/model_executor/layers/quantization/torchao.py of vLLM 0.32."""

import json

import torch
from vllm.logger import init_logger
from vllm.model_executor.layers.linear import LinearBase, UnquantizedLinearMethod
from vllm.model_executor.layers.quantization import register_quantization_config
from vllm.model_executor.layers.quantization.base_config import QuantizationConfig
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
from vllm.platforms import current_platform

import torchao_cpp

from .head_method import PlainHeadMethod, QuantizedHeadMethod
from .linear_method import TorchAOCppLinearMethod

logger = init_logger("vllm.torchao_cpp")


class TorchAOCppConfig(QuantizationConfig):
    """A torchao_cpp.TorchAOConfig as vLLM's quantization config. Takes the place of vLLM's own for "torchao"."""

    def __init__(self, core: torchao_cpp.TorchAOConfig) -> None:
        super().__init__()
        self.core = core

    def __repr__(self) -> str:
        return f"TorchAOCppConfig({self.core!r})"

    def __getstate__(self):
        # Goes to the worker processes with vLLM's config; what is C++ goes as JSON.
        state = dict(self.__dict__)
        core = state.pop("core")
        config = core.torchao_config
        state["_core"] = (
            None if config is None else config.to_dict(),
            core.skip_modules,
            core.is_checkpoint_torchao_serialized,
        )
        return state

    def __setstate__(self, state):
        config, skip_modules, is_serialized = state.pop("_core")
        self.__dict__.update(state)
        self.core = torchao_cpp.TorchAOConfig(config, skip_modules, is_serialized)

    @property
    def torchao_config(self):
        return self.core.torchao_config

    @property
    def skip_modules(self) -> list[str]:
        return self.core.skip_modules

    @property
    def is_checkpoint_torchao_serialized(self) -> bool:
        """Read by vLLM's loader, which then hands over whole torchao tensors."""
        return self.core.is_checkpoint_torchao_serialized

    def get_name(self) -> str:
        return "torchao"

    def get_supported_act_dtypes(self) -> list[torch.dtype]:
        return [torch.float32, torch.float16, torch.bfloat16]

    @classmethod
    def get_min_capability(cls) -> int:
        return 75

    @staticmethod
    def get_config_filenames() -> list[str]:
        return []

    @classmethod
    def from_config(cls, config: dict) -> "TorchAOCppConfig":
        """From the quantization_config of config.json."""
        return cls(torchao_cpp.TorchAOConfig.from_config(config))

    @classmethod
    def from_config_file(cls, config_file: str) -> "TorchAOCppConfig":
        """From hf_overrides' quantization_config_file: torchao's config_to_dict as JSON."""
        return cls(torchao_cpp.TorchAOConfig.from_config_file(config_file))

    @classmethod
    def from_config_dict_json(cls, config_dict_json: str) -> "TorchAOCppConfig":
        """From hf_overrides' quantization_config_dict_json: JSON text, or a shorthand such as "int8wo"."""
        if torchao_cpp.config_from_shorthand(config_dict_json) is not None:
            return cls(torchao_cpp.TorchAOConfig(config_dict_json))
        return cls(torchao_cpp.TorchAOConfig.from_config_dict_json(config_dict_json))

    def get_quant_method(self, layer: torch.nn.Module, prefix: str):
        """Our method, vLLM's unquantized one, or None for what is neither a linear nor the output head."""
        if isinstance(layer, ParallelLMHead):
            return self._head_method(prefix)
        if not isinstance(layer, LinearBase):
            return None
        decisions = self._decisions(prefix)
        if all(decision.config is None for decision in decisions):
            logger.debug("%s: unquantized: %s", prefix, decisions[0].reason)
            return UnquantizedLinearMethod()
        logger.debug("%s: %s: %s", prefix, decisions[0].config, decisions[0].reason)
        return TorchAOCppLinearMethod(decisions, self.is_checkpoint_torchao_serialized, prefix)

    def _head_method(self, prefix: str):
        """The head is quantized where a rule names it; "_default" and whole-model configs do not mean it."""
        decision = self.core.decide(prefix)
        is_named = decision.source in (torchao_cpp.DecisionSource.EXACT_NAME, torchao_cpp.DecisionSource.REGEX)
        if is_named and decision.config is not None:
            return QuantizedHeadMethod([decision], self.is_checkpoint_torchao_serialized, prefix)
        return PlainHeadMethod() if current_platform.is_cpu() else None

    def _decisions(self, prefix: str):
        """One decision, or one for each part of a fused layer whose parts get different configs."""
        self.core.packed_modules_mapping = self.packed_modules_mapping or {}
        decision = self.core.decide(prefix)
        if decision.source != torchao_cpp.DecisionSource.PARTS_DISAGREE:
            return [decision]
        parent, _, name = prefix.rpartition(".")
        parts = self.packed_modules_mapping[name]
        return [self.core.decide(f"{parent}.{part}" if parent else part) for part in parts]


class TorchAOCppOverride(TorchAOCppConfig):
    """The config behind the name torchao_cpp: a torchao checkpoint with --quantization torchao_cpp is one of "torchao"."""

    @classmethod
    def override_quantization_method(cls, hf_quant_cfg, user_quant, hf_config=None):
        is_torchao = hf_quant_cfg is not None and hf_quant_cfg.get("quant_method") == "torchao"
        return "torchao" if is_torchao and user_quant == "torchao_cpp" else None


def register_config() -> None:
    register_quantization_config("torchao")(TorchAOCppConfig)
    register_quantization_config("torchao_cpp")(TorchAOCppOverride)


def config_as_json(config) -> str:
    """The text for hf_overrides' quantization_config_dict_json, from anything that torchao_cpp.as_config takes."""
    return json.dumps(torchao_cpp.as_config(config).to_dict())
