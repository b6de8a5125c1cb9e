# SPDX-License-Identifier: Apache-2.0
"""Quantized weights and linears, without torch; beside torchao where it is installed."""

import threading

import pytest

import torchao_cpp

numpy = pytest.importorskip("numpy")


@pytest.fixture
def weight():
    return numpy.random.default_rng(0).standard_normal((96, 256), dtype=numpy.float32)


@pytest.mark.parametrize("config", ["int8wo", "int8dq", "int4wo-128", "8da4w", "intx3wo-32", "fp8wo", "fp8dq-row", "mxfp8", "nvfp4wo"])
def test_linear_multiplies_what_dequantize_gives(weight, config):
    torch = pytest.importorskip("torch")
    quantized = torchao_cpp.quantize(torch.from_numpy(weight).bfloat16(), config)
    x = torch.from_numpy(numpy.random.default_rng(1).standard_normal((5, 256), dtype=numpy.float32)).bfloat16()
    y = torchao_cpp.linear(x.reshape(5, 1, 256), quantized)
    assert y.shape == (5, 1, 96) and y.dtype == torch.bfloat16
    expected = x.float() @ quantized.dequantize("float32").torch().T
    # Activations of 8 bits cost a percent, those in blocks of eight-bit floats three.
    assert (y.reshape(5, 96).float() - expected).abs().max() < 0.06 * expected.abs().max()


def test_parts_go_round(weight):
    quantized = torchao_cpp.quantize(weight, "int8wo")
    again = torchao_cpp.WeightTensor.from_parts(quantized.class_name, quantized.attributes, quantized.parts)
    assert (again.dequantize().numpy() == quantized.dequantize().numpy()).all()
    assert abs(again.dequantize().numpy() - weight).max() < 0.03


def test_slices_and_concat(weight):
    quantized = torchao_cpp.quantize(weight, "int8wo")
    upper, lower = quantized.slice(0, 0, 32), quantized.slice(0, 32, 96)
    joined = torchao_cpp.WeightTensor.concat_rows([upper, lower])
    assert (joined.dequantize().numpy() == quantized.dequantize().numpy()).all()
    with pytest.raises(torchao_cpp.ShapeError):
        torchao_cpp.quantize(weight, "intx4wo-32").slice(1, 16, 48)


def test_a_weight_that_torchao_leaves_alone():
    odd = numpy.zeros((8, 100), dtype=numpy.float32)
    outcome = torchao_cpp.quantize_tensor(odd, "int4wo-32")
    assert outcome.weight is None and outcome.reason
    with pytest.raises(torchao_cpp.ShapeError, match="leaves this weight unquantized"):
        torchao_cpp.quantize(odd, "int4wo-32")


def test_a_linear_checks_its_arguments(weight):
    linear = torchao_cpp.Linear(torchao_cpp.quantize(weight, "int8wo"))
    x = numpy.zeros((2, 256), dtype=numpy.float32)
    out = numpy.empty((2, 96), dtype=numpy.float32)
    assert linear(x, out=out) is out and not out.any()
    bias = numpy.arange(96, dtype=numpy.float32)
    assert (linear(x, bias)[1] == bias).all()
    with pytest.raises(ValueError, match=r"x is \[2, 255\]; expected \[.., 256\]"):
        linear(numpy.zeros((2, 255), dtype=numpy.float32))
    with pytest.raises(ValueError, match="made for float32 on cpu"):
        linear(x.astype(numpy.float16))
    with pytest.raises(ValueError, match="bias is"):
        linear(x, bias[:3].copy())
    with pytest.raises(TypeError, match="expected a writable array"):
        out.setflags(write=False)
        linear(x, out=out)


def test_fused_linears_write_side_by_side(weight):
    plain = torchao_cpp.Linear(weight)
    quantized = torchao_cpp.Linear(torchao_cpp.quantize(weight, "int8wo"))
    fused = torchao_cpp.FusedLinear([plain, quantized])
    x = numpy.random.default_rng(2).standard_normal((3, 256), dtype=numpy.float32)
    y = numpy.empty((3, fused.output_size), dtype=numpy.float32)
    torchao_cpp.run_fused_linear(fused.handle, x.ctypes.data, 3, 0, y.ctypes.data)
    assert (y == numpy.concatenate([plain(x), quantized(x)], axis=1)).all()
    handle = fused.handle
    del fused
    with pytest.raises(torchao_cpp.Error, match="belongs to no FusedLinear"):
        torchao_cpp.run_fused_linear(handle, x.ctypes.data, 3, 0, y.ctypes.data)


def test_threads_call_one_linear_at_once(weight):
    linear = torchao_cpp.Linear(torchao_cpp.quantize(weight, "int8wo"))
    x = numpy.random.default_rng(3).standard_normal((7, 256), dtype=numpy.float32)
    expected = linear(x)
    wrong = []

    def call():
        for _ in range(50):
            if not (linear(x) == expected).all():
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_openmp_threads_give_the_same_result(weight):
    linear = torchao_cpp.Linear(torchao_cpp.quantize(weight, "int8dq"))
    x = numpy.random.default_rng(4).standard_normal((64, 256), dtype=numpy.float32)
    expected = linear(x)
    pytest.importorskip("torch")
    assert torchao_cpp.use_openmp_threads()
    try:
        assert (linear(x) == expected).all()
    finally:
        torchao_cpp.use_openmp_threads(False)


@pytest.mark.parametrize("config", ["int8wo", "int8dq", "8da4w", "intx4wo-32", "fp8wo"])
def test_bits_of_torchao(config):
    torch = pytest.importorskip("torch")
    quantization = pytest.importorskip("torchao.quantization")
    from torchao.core.config import config_from_dict

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(256, 96, bias=False, dtype=torch.bfloat16))
    ours = torchao_cpp.quantize(module[0].weight, config)
    quantization.quantize_(module, config_from_dict(torchao_cpp.as_config(config).to_dict()))
    theirs = torchao_cpp.WeightTensor.from_torchao(module[0].weight)
    assert theirs.class_name == ours.class_name and theirs.attributes == ours.attributes
    for name, part in ours.parts.items():
        assert torch.equal(part.torch().view(torch.uint8), theirs.parts[name].torch().view(torch.uint8)), name
    assert torch.equal(ours.dequantize().torch(), module[0].weight.dequantize())
