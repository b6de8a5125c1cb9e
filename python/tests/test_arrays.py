# SPDX-License-Identifier: Apache-2.0
"""Arrays across the border: no copies, no torch needed, clear refusals."""

import gc

import pytest

import torchao_cpp

numpy = pytest.importorskip("numpy")


def test_numpy_in_and_out_share_memory():
    array = numpy.arange(12, dtype=numpy.float32).reshape(3, 4)
    tensor = torchao_cpp.as_tensor(array)
    assert tensor.shape == (3, 4) and tensor.dtype == "float32" and tensor.device == "cpu"
    assert tensor.data_ptr == array.ctypes.data
    array[0, 0] = 42
    assert tensor.numpy()[0, 0] == 42


def test_a_tensor_keeps_its_source_alive():
    tensor = torchao_cpp.as_tensor(numpy.full((64,), 7.0))
    gc.collect()
    assert numpy.from_dlpack(tensor).tolist() == [7.0] * 64


def test_not_contiguous_is_refused():
    with pytest.raises(torchao_cpp.ShapeError, match="not contiguous"):
        torchao_cpp.as_tensor(numpy.zeros((4, 6), dtype=numpy.float32).T)


def test_an_object_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match="weight is a list; expected an array"):
        torchao_cpp.quantize([1.0, 2.0], "int8wo")


def test_view_checks_the_element_size():
    tensor = torchao_cpp.as_tensor(numpy.zeros(4, dtype=numpy.uint8))
    assert tensor.view("float8_e4m3fn").dtype == "float8_e4m3fn"
    with pytest.raises(ValueError, match="same element size"):
        tensor.view("float32")


def test_weights_of_a_file_are_read_only(demo_model):
    tensor = torchao_cpp.Checkpoint(demo_model)["model.norm.weight"]
    assert tensor.is_read_only
    assert not numpy.from_dlpack(tensor.view("uint16")).flags.writeable


def test_numpy_bfloat16_by_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = numpy.ones((32, 64), dtype=ml_dtypes.bfloat16)
    weight = torchao_cpp.quantize(array, "fp8wo")
    assert weight.parts["qdata"].numpy().dtype == ml_dtypes.float8_e4m3fn
    out = torchao_cpp.linear(numpy.ones((2, 64), dtype=ml_dtypes.bfloat16), weight)
    assert out.dtype == ml_dtypes.bfloat16 and float(out[0, 0]) == 64


@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "int8", "uint8"])
def test_torch_in_and_out_share_memory(name):
    torch = pytest.importorskip("torch")
    array = torch.zeros(8, 16, dtype=getattr(torch, name))
    tensor = torchao_cpp.as_tensor(array)
    assert tensor.dtype == name and tensor.data_ptr == array.data_ptr()
    assert tensor.torch().data_ptr() == array.data_ptr() and tensor.torch().dtype == array.dtype


def test_torch_parameters_need_no_detach():
    torch = pytest.importorskip("torch")
    weight = torchao_cpp.quantize(torch.nn.Linear(64, 32).weight, "int8wo")
    assert weight.shape == (32, 64)


def test_jax_arrays_come_and_go():
    jax = pytest.importorskip("jax")
    with jax.default_device(jax.devices("cpu")[0]):
        weight = torchao_cpp.quantize(jax.numpy.ones((32, 64), dtype="bfloat16"), "int8wo")
        out = torchao_cpp.linear(jax.numpy.ones((2, 64), dtype="bfloat16"), weight)
    assert isinstance(out, jax.Array) and out.dtype == jax.numpy.bfloat16


def test_cuda_tensors_stay_on_the_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    weight = torchao_cpp.quantize(torch.randn(256, 512, dtype=torch.bfloat16), "int4wo-128")
    x = torch.randn(4, 512, dtype=torch.bfloat16, device="cuda")
    try:
        y = torchao_cpp.linear(x, weight)
    except torchao_cpp.UnsupportedError as error:
        pytest.skip(str(error))
    assert y.device == x.device
    reference = x.float() @ weight.dequantize("float32").torch().cuda().T
    assert (y.float() - reference).abs().max() < 0.02 * reference.abs().max()
