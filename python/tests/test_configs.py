# SPDX-License-Identifier: Apache-2.0
"""Configs, layer decisions and errors."""

import json
import warnings

import pytest

import torchao_cpp

INT8 = {"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {}}


def test_a_config_from_shorthand_dict_and_text_is_the_same():
    config = torchao_cpp.as_config("int4wo-32")
    assert config.type_name == "Int4WeightOnlyConfig"
    assert config.to_dict()["_data"]["group_size"] == 32
    assert torchao_cpp.config_from_dict(config.to_dict()) == config
    assert torchao_cpp.as_config(json.dumps(config.to_dict())) == config
    assert torchao_cpp.config_from_shorthand("nonsense") is None
    assert any(pattern.startswith("int4wo") for pattern, _ in torchao_cpp.shorthands())


@pytest.mark.parametrize(
    "data, kind",
    [
        ({"_type": "NoSuchConfig", "_version": 1, "_data": {}}, "unknown_type"),
        ({"_type": "Int8WeightOnlyConfig", "_version": 2, "_data": {"no_such_field": 1}}, "unknown_field"),
    ],
)
def test_errors_carry_their_kind_and_are_value_errors(data, kind):
    with pytest.raises(ValueError) as caught:
        torchao_cpp.config_from_dict(data)
    assert isinstance(caught.value, torchao_cpp.ConfigError) and caught.value.kind == kind


def test_error_classes_map_to_python():
    pairs = {
        "ConfigError": ValueError,
        "CheckpointError": ValueError,
        "ShapeError": ValueError,
        "UnsupportedError": NotImplementedError,
        "IoError": OSError,
        "DeviceError": RuntimeError,
    }
    for name, base in pairs.items():
        error = getattr(torchao_cpp, name)
        assert issubclass(error, base) and issubclass(error, torchao_cpp.Error)
    with pytest.raises(OSError):
        torchao_cpp.Checkpoint("/no/such/folder")
    with pytest.raises(RuntimeError, match="unknown; expected 'cpu'"):
        torchao_cpp.Linear(torchao_cpp.as_tensor(memoryview(b"1234")), "float32", device="tpu")


def test_should_skip_as_vllm_documents_it():
    assert torchao_cpp.should_skip("model.model.layers.1.q_proj", ["model.model.layers.1.q_proj"])
    assert torchao_cpp.should_skip("model.model.layers.10.o_proj", ["o_proj"])
    assert torchao_cpp.should_skip("visual.model.layers.1.q_proj", ["visual"])
    assert torchao_cpp.should_skip("model.model.layers.1.q_proj", ["layers.1"])
    assert not torchao_cpp.should_skip("model.model.layers.11.q_proj", ["layers.1"])


def test_decisions_say_why():
    rules = {"_default": INT8, "re:.*\\.mlp\\..*": None, "model.layers.0.self_attn.q_proj": INT8}
    config = torchao_cpp.TorchAOConfig(
        {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": rules}}, ["lm_head"]
    )
    source = torchao_cpp.DecisionSource
    exact = config.decide("model.layers.0.self_attn.q_proj")
    assert exact.source == source.EXACT_NAME and exact.config.type_name == "Int8WeightOnlyConfig"
    assert config.decide("lm_head").source == source.SKIPPED
    assert config.decide("model.layers.0.mlp.up_proj").config is None
    assert config.decide("model.layers.1.self_attn.o_proj").source == source.DEFAULT
    config.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
    assert config.decide("model.layers.0.self_attn.qkv_proj").config.type_name == "Int8WeightOnlyConfig"


def test_quantization_config_of_hugging_face():
    config = torchao_cpp.TorchAOConfig.from_config({"quant_method": "torchao", "quant_type": {"default": INT8}})
    assert config.is_checkpoint_torchao_serialized
    assert config.to_quantization_config()["quant_type"]["default"]["_type"] == "Int8WeightOnlyConfig"
    with pytest.raises(ValueError, match="quant_type must be specified"):
        torchao_cpp.TorchAOConfig.from_config({"quant_method": "torchao"})


def test_an_old_config_is_upgraded_with_a_warning():
    old = {"quant_method": "torchao", "quant_type": "int8_weight_only"}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        config = torchao_cpp.TorchAOConfig.from_config(old)
    assert seen and config.torchao_config.type_name == "Int8WeightOnlyConfig"
