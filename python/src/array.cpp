// SPDX-License-Identifier: Apache-2.0
#include "array.h"

#include <nanobind/ndarray.h>

#include <cstddef>
#include <string>

#include "bindings.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::python {
namespace {

namespace dlpack = nb::dlpack;
using Code = dlpack::dtype_code;

struct DTypeRow {
  DType dtype;
  Code code;
  std::uint8_t bits;
  std::uint16_t lanes = 1;
};

// The first row of a DLPack type is what it becomes here.
constexpr DTypeRow kDTypes[] = {
    {DType::kFloat32, Code::Float, 32},
    {DType::kFloat16, Code::Float, 16},
    {DType::kBFloat16, Code::Bfloat, 16},
    {DType::kFloat64, Code::Float, 64},
    {DType::kFloat8E4M3FN, Code::Float8_E4M3FN, 8},
    {DType::kFloat8E5M2, Code::Float8_E5M2, 8},
    {DType::kFloat8E4M3FNUZ, Code::Float8_E4M3FNUZ, 8},
    {DType::kFloat8E5M2FNUZ, Code::Float8_E5M2FNUZ, 8},
    {DType::kFloat8E8M0FNU, Code::Float8_E8M0FNU, 8},
    {DType::kFloat4E2M1FNx2, Code::Float4_E2M1FN, 4, 2},
    {DType::kBool, Code::Bool, 8},
    {DType::kUInt8, Code::UInt, 8},
    {DType::kUInt16, Code::UInt, 16},
    {DType::kUInt32, Code::UInt, 32},
    {DType::kUInt64, Code::UInt, 64},
    {DType::kInt8, Code::Int, 8},
    {DType::kInt16, Code::Int, 16},
    {DType::kInt32, Code::Int, 32},
    {DType::kInt64, Code::Int, 64},
    {DType::kComplex64, Code::Complex, 64},
    // Codes are stored one a byte.
    {DType::kInt1, Code::Int, 8},
    {DType::kInt2, Code::Int, 8},
    {DType::kInt3, Code::Int, 8},
    {DType::kInt4, Code::Int, 8},
    {DType::kInt5, Code::Int, 8},
    {DType::kInt6, Code::Int, 8},
    {DType::kInt7, Code::Int, 8},
    {DType::kUInt1, Code::UInt, 8},
    {DType::kUInt2, Code::UInt, 8},
    {DType::kUInt3, Code::UInt, 8},
    {DType::kUInt4, Code::UInt, 8},
    {DType::kUInt5, Code::UInt, 8},
    {DType::kUInt6, Code::UInt, 8},
    {DType::kUInt7, Code::UInt, 8},
    {DType::kFloat6E2M3, Code::UInt, 8},
    {DType::kFloat6E3M2, Code::UInt, 8},
};

dlpack::dtype to_dlpack(DType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return {static_cast<std::uint8_t>(row.code), row.bits, row.lanes};
  }
  throw UnsupportedError(std::string(dtype_name(dtype)) + " has no DLPack type");
}

DType from_dlpack(dlpack::dtype dtype, const char* what) {
  for (const DTypeRow& row : kDTypes) {
    if (static_cast<std::uint8_t>(row.code) == dtype.code && row.bits == dtype.bits &&
        row.lanes == dtype.lanes)
      return row.dtype;
  }
  throw UnsupportedError(std::string(what) + " has DLPack type code " + std::to_string(dtype.code) +
                         " of " + std::to_string(dtype.bits) + " bits, which is not read");
}

template <typename NdArray>
Array describe(NdArray view, const char* what) {
  Array out;
  out.dtype = from_dlpack(view.dtype(), what);
  std::int64_t expected = 1;
  for (std::size_t d = view.ndim(); d-- > 0;) {
    if (view.shape(d) != 1 && view.stride(d) != expected) {
      throw ShapeError(std::string(what) +
                       " is not contiguous: its elements must follow each other row by row; pass "
                       "a contiguous copy (torch: .contiguous(), numpy: ascontiguousarray)");
    }
    expected *= static_cast<std::int64_t>(view.shape(d));
  }
  for (std::size_t d = 0; d < view.ndim(); ++d)
    out.shape.push_back(static_cast<std::int64_t>(view.shape(d)));
  if (view.device_type() == nb::device::cuda::value) {
    out.device = Device::cuda(view.device_id());
  } else if (view.device_type() != nb::device::cpu::value) {
    throw DeviceError(std::string(what) + " is on DLPack device type " +
                      std::to_string(view.device_type()) + "; expected the CPU or CUDA");
  }
  out.data = const_cast<void*>(static_cast<const void*>(view.data()));
  out.owner = std::make_shared<NdArray>(std::move(view));
  return out;
}

template <typename... Options>
nb::object exported(const Array& array) {
  std::vector<std::size_t> sizes(array.shape.begin(), array.shape.end());
  auto* keeper = new std::shared_ptr<const void>(array.owner);
  const nb::capsule owner(
      keeper, [](void* p) noexcept { delete static_cast<std::shared_ptr<const void>*>(p); });
  const bool is_cuda = array.device.type == DeviceType::kCUDA;
  const nb::ndarray<nb::array_api, Options...> view(
      array.data, sizes.size(), sizes.data(), owner, nullptr, to_dlpack(array.dtype),
      is_cuda ? nb::device::cuda::value : nb::device::cpu::value, array.device.index);
  return nb::cast(view);
}

nb::object exporter(const Array& array) {
  return array.is_read_only ? exported<nb::ro>(array) : exported<>(array);
}

nb::object call_arrays(const char* function, nb::handle self) {
  return nb::module_::import_("torchao_cpp._arrays").attr(function)(self);
}

std::string repr(const Array& a) {
  return "Tensor(shape=" + shape_to_string(a.shape) +
         ", dtype=" + std::string(dtype_name(a.dtype)) + ", device=" + device_name(a.device) + ")";
}

}  // namespace

Array Array::of(Tensor tensor) {
  Array out;
  out.dtype = tensor.dtype();
  out.shape = tensor.shape();
  out.data = const_cast<std::byte*>(tensor.bytes());
  out.is_read_only = tensor.is_read_only();
  out.owner = std::make_shared<Tensor>(std::move(tensor));
  return out;
}

Array Array::empty(DType dtype, Shape shape, Device device) {
  if (device.type == DeviceType::kCPU) return of(Tensor::empty(dtype, std::move(shape)));
  Array out;
  out.dtype = dtype;
  out.device = device;
  auto memory = allocate_on_device(device, shape_numel(shape) * dtype_size_bytes(dtype));
  out.data = memory.get();
  out.owner = std::move(memory);
  out.shape = std::move(shape);
  return out;
}

Array Array::from_object(nb::handle object, const char* what, bool is_written) {
  if (Array own; nb::try_cast(object, own)) {
    if (is_written && own.is_read_only)
      throw ShapeError(std::string(what) + " is read-only; expected an array to write to");
    return own;
  }
  // Formats that numpy cannot export are unwrapped there.
  const nb::object plain = nb::module_::import_("torchao_cpp._arrays").attr("exportable")(object);
  if (Array own; nb::try_cast(plain, own)) return own;
  if (is_written) {
    nb::ndarray<> view;
    if (nb::try_cast(plain, view, false)) return describe(std::move(view), what);
  } else {
    nb::ndarray<nb::ro> view;
    if (nb::try_cast(plain, view, false)) {
      Array out = describe(std::move(view), what);
      out.is_read_only = true;
      return out;
    }
  }
  const std::string type = nb::cast<std::string>(nb::str(object.type().attr("__name__")));
  throw nb::type_error((std::string(what) + " is a " + type + "; expected " +
                        (is_written ? "a writable" : "an") +
                        " array with __dlpack__ (torch, numpy, jax, cupy, ..)")
                           .c_str());
}

Tensor Array::tensor(const char* what) const {
  if (device.type != DeviceType::kCPU) {
    throw DeviceError(std::string(what) + " is on " + device_name(device) +
                      "; expected an array in host memory");
  }
  return is_read_only ? Tensor::borrow(data, dtype, shape, owner)
                      : Tensor::borrow_mutable(data, dtype, shape, owner);
}

void bind_arrays(nb::module_& m) {
  nb::class_<Array>(
      m, "Tensor",
      "A contiguous array in host or GPU memory. torch.from_dlpack, numpy.from_dlpack and\n"
      "jax.dlpack.from_dlpack take it without a copy; so do the methods torch() and numpy().\n"
      "Weights of a mapped checkpoint are read-only: copy before writing.")
      .def_prop_ro("shape", [](const Array& a) { return nb::tuple(nb::cast(a.shape)); })
      .def_prop_ro(
          "dtype", [](const Array& a) { return std::string(dtype_name(a.dtype)); },
          "torch's name of the element type, e.g. 'bfloat16'.")
      .def_prop_ro(
          "device", [](const Array& a) { return device_name(a.device); }, "'cpu' or 'cuda:0'.")
      .def_prop_ro("nbytes", [](const Array& a) { return a.numel() * dtype_size_bytes(a.dtype); })
      .def_prop_ro(
          "data_ptr", [](const Array& a) { return reinterpret_cast<std::uintptr_t>(a.data); },
          "Address of the first element.")
      .def_ro("is_read_only", &Array::is_read_only)
      .def(
          "view",
          [](const Array& a, nb::handle dtype) {
            const DType type = dtype_argument(dtype);
            if (dtype_size_bytes(type) != dtype_size_bytes(a.dtype)) {
              throw ShapeError("view: " + std::string(dtype_name(a.dtype)) + " as " +
                               std::string(dtype_name(type)) + "; expected the same element size");
            }
            Array out = a;
            out.dtype = type;
            return out;
          },
          nb::arg("dtype"), "The same memory under a dtype of the same element size.")
      .def(
          "numpy", [](nb::handle self) { return call_arrays("to_numpy", self); },
          "As a numpy array over the same memory; bfloat16 and float8 need the package ml_dtypes.")
      .def(
          "torch", [](nb::handle self) { return call_arrays("to_torch", self); },
          "As a torch tensor over the same memory.")
      .def(
          "__dlpack__",
          [](const Array& a, nb::kwargs options) {
            return exporter(a).attr("__dlpack__")(**options);
          },
          nb::arg("options"),
          "DLPack capsule over the same memory; options as the array API has them.")
      .def("__dlpack_device__",
           [](const Array& a) {
             const bool is_cuda = a.device.type == DeviceType::kCUDA;
             return std::pair(is_cuda ? nb::device::cuda::value : nb::device::cpu::value,
                              a.device.index);
           })
      .def("__len__",
           [](const Array& a) {
             if (a.shape.empty()) throw nb::type_error("a tensor without dimensions has no length");
             return a.shape[0];
           })
      .def("__repr__", &repr);
  m.def(
      "as_tensor", [](nb::handle array) { return Array::from_object(array, "array"); },
      nb::arg("array"),
      "A Tensor over the memory of any array that speaks DLPack, without a copy.");
}

}  // namespace torchao_cpp::python
