# SPDX-License-Identifier: Apache-2.0
"""Checkpoints, whole folders and LLM on the demo model."""

import pytest

import torchao_cpp


@pytest.fixture(scope="module")
def llm(demo_model):
    return torchao_cpp.LLM(demo_model, quantization="int8dq", max_batch=4)


def test_checkpoint_is_a_mapping(demo_model):
    checkpoint = torchao_cpp.Checkpoint(demo_model)
    assert len(checkpoint) == len(list(checkpoint)) > 50
    assert "model.norm.weight" in checkpoint and not checkpoint.is_torchao_serialized
    with pytest.raises(ValueError, match="model.norm.weight"):
        checkpoint["model.norm.wieght"]


def test_quantize_read_back_dequantize_diff(demo_model, tmp_path):
    stages = []
    report = torchao_cpp.quantize_model(
        demo_model, tmp_path / "int8", "int8wo", progress=lambda stage, done, total: stages.append((stage, done, total))
    )
    assert stages and report["bytes_after"] < report["bytes_before"]
    checkpoint = torchao_cpp.Checkpoint(tmp_path / "int8")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert checkpoint.is_torchao_serialized and checkpoint[name].class_name == "Int8Tensor"
    assert checkpoint.entry(name).is_quantized and "qdata" in checkpoint.entry(name).parts
    assert torchao_cpp.inspect_model(tmp_path / "int8")["is_torchao_serialized"]
    torchao_cpp.dequantize_model(tmp_path / "int8", tmp_path / "plain")
    diff = torchao_cpp.diff_checkpoints(tmp_path / "int8", tmp_path / "plain")
    assert diff["compared"] == diff["equal"] > 50
    with pytest.raises(OSError):
        torchao_cpp.quantize_model(demo_model, tmp_path / "int8", "int8wo")


def test_an_exception_of_progress_ends_the_call(demo_model, tmp_path):
    def stop(stage, done, total):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        torchao_cpp.quantize_model(demo_model, tmp_path / "out", "int8wo", progress=stop)
    assert not (tmp_path / "out").exists()


def test_writer_makes_a_folder_or_nothing(demo_model, tmp_path):
    source = torchao_cpp.Checkpoint(demo_model)
    weight = torchao_cpp.quantize(source["model.layers.0.self_attn.q_proj.weight"], "int4wo-128")
    with torchao_cpp.CheckpointWriter(tmp_path / "out") as writer:
        writer.add("a.weight", weight)
        writer.add("b.weight", source["model.norm.weight"])
    assert torchao_cpp.Checkpoint(tmp_path / "out")["a.weight"].class_name == "Int4Tensor"
    with pytest.raises(RuntimeError), torchao_cpp.CheckpointWriter(tmp_path / "none") as writer:
        raise RuntimeError
    assert not (tmp_path / "none").exists()


def test_explain_names_kernels(demo_model):
    rows = torchao_cpp.explain_model(demo_model, "int4wo-128")
    assert all(row["kernel"] and row["reason"] for row in rows)


def test_generate_text_ids_and_batches(llm):
    one = llm.generate("The Linux kernel is", max_new_tokens=8)
    assert len(one.output_ids) == 8 and one.text and one.finish_reason == "length"
    ids = llm.tokenizer.encode("The Linux kernel is")
    many = llm.generate([ids, "def main():"], max_new_tokens=8, ignore_eos=True)
    assert many[0].output_ids == one.output_ids and len(many) == 2


def test_on_token_stops_and_raises(llm):
    seen = []

    def stop_after_three(index, token):
        seen.append(token)
        return len(seen) < 3

    assert len(llm.generate("The", max_new_tokens=20, on_token=stop_after_three).output_ids) == 3
    with pytest.raises(ZeroDivisionError):
        llm.generate("The", max_new_tokens=20, on_token=lambda index, token: 1 // 0)


def test_logits_and_perplexity(llm):
    logits = llm.logits([1, 2, 3])
    assert logits.shape == (3, llm.vocab_size) and logits.dtype == "float32"
    with pytest.raises(torchao_cpp.Error):
        llm.logits([llm.vocab_size])
    assert 1 < llm.perplexity("The Linux kernel is a program. " * 30, window=64)["perplexity"] < 10000


def test_help_reads_well():
    for name in torchao_cpp.__all__:
        assert getattr(torchao_cpp, name).__doc__, f"{name} has no docstring"
