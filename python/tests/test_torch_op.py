# SPDX-License-Identifier: Apache-2.0
"""torch.ops.torchao_cpp.linear in torch itself: eager, compiled and in a CUDA graph, without vLLM."""

import pytest

import torchao_cpp

torch = pytest.importorskip("torch")

CONFIGS = ["int8wo", "int8dq", "int4wo-128", "fp8wo", "8da4w"]


def device(name):
    if name == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        try:
            weight = torchao_cpp.quantize(torch.ones(16, 128, dtype=torch.bfloat16), "int8wo")
            torchao_cpp.Linear(weight, torch.bfloat16, device="cuda:0")
        except torchao_cpp.UnsupportedError as error:
            pytest.skip(str(error))
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


class Layer(torch.nn.Module):
    def __init__(self, config, where):
        super().__init__()
        self.weight = torchao_cpp.quantize(torch.randn(384, 512, dtype=torch.bfloat16), config)
        name = "cpu" if where.type == "cpu" else f"cuda:{where.index}"
        self.linear = torchao_cpp.FusedLinear([torchao_cpp.Linear(self.weight, torch.bfloat16, device=name)])
        self.handle = torch.tensor([self.linear.handle], dtype=torch.int64)

    def forward(self, x, bias=None):
        from torchao_cpp.vllm_plugin.operator import linear

        return linear(x, self.handle, bias, 384)


def assert_close(got, layer, x, bias=None):
    expected = x.float().cpu() @ layer.weight.dequantize("float32").torch().T
    if bias is not None:
        expected += bias.float().cpu()
    assert got.dtype == x.dtype and got.device == x.device
    assert (got.float().cpu() - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("config", CONFIGS)
def test_eager(config, where):
    where = device(where)
    layer = Layer(config, where)
    for rows in (1, 7, 40):
        x = torch.randn(rows, 512, dtype=torch.bfloat16, device=where)
        bias = torch.randn(384, dtype=torch.bfloat16, device=where)
        assert_close(layer(x), layer, x)
        assert_close(layer(x, bias), layer, x, bias)
        assert_close(layer(x.repeat(1, 2)[:, ::2]), layer, x.repeat(1, 2)[:, ::2])


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_compiled_is_one_graph_and_gives_the_same(where):
    where = device(where)
    layer = Layer("int8wo", where)
    compiled = torch.compile(lambda x: torch.relu(layer(x)) * 2, fullgraph=True, dynamic=True)
    for rows in (3, 17):
        x = torch.randn(rows, 512, dtype=torch.bfloat16, device=where)
        assert torch.equal(compiled(x), torch.relu(layer(x)) * 2)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_cuda_graph_replays_it(config):
    where = device("cuda")
    layer = Layer(config, where)
    x = torch.randn(4, 512, dtype=torch.bfloat16, device=where)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        layer(x)  # Outside of the graph once, as torch asks.
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = layer(x)
    for _ in range(2):
        x.copy_(torch.randn_like(x))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(y, layer(x))
        assert_close(y, layer, x)
