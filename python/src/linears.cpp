// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>

#include "bindings.h"
#include "linear_cache.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::python {
namespace {

using LinearPtr = std::shared_ptr<const Linear>;

/// A Linear with what a caller from Python needs to check its arguments.
struct PyLinear {
  LinearPtr linear;
  DType dtype = DType::kBFloat16;
  Device device;
};

// Scratch of this thread, kept for the next call.
std::byte* host_workspace(std::int64_t bytes) {
  struct Buffer {
    std::byte* data = nullptr;
    std::int64_t bytes = 0;
    ~Buffer() { std::free(data); }
  };
  thread_local Buffer buffer;
  if (bytes > buffer.bytes) {
    const std::int64_t rounded = (bytes + 4095) / 4096 * 4096;
    auto* data = static_cast<std::byte*>(std::aligned_alloc(64, static_cast<std::size_t>(rounded)));
    if (data == nullptr) throw std::bad_alloc();
    std::free(buffer.data);
    buffer.data = data;
    buffer.bytes = rounded;
  }
  return buffer.data;
}

LoadedWeight loaded_weight(nb::handle weight) {
  Weight* quantized = nullptr;
  if (nb::try_cast(weight, quantized) && quantized != nullptr) return {{}, quantized->weight};
  return {Array::from_object(weight, "weight").tensor("weight"), nullptr};
}

PyLinear make_linear(nb::handle weight, nb::handle activation_dtype, std::string_view device,
                     std::string_view force_kernel) {
  const LoadedWeight loaded = loaded_weight(weight);
  PyLinear out;
  out.device = device_argument(device);
  out.dtype = activation_dtype.is_none()
                  ? (loaded.quantized ? loaded.quantized->dtype() : loaded.plain.dtype())
                  : dtype_argument(activation_dtype);
  const nb::gil_scoped_release unlocked;
  out.linear = std::make_shared<const Linear>(loaded, out.dtype, force_kernel, out.device);
  return out;
}

void check(const PyLinear& self, const Array& x, const std::optional<Array>& bias) {
  const std::string expected =
      std::string(dtype_name(self.dtype)) + " on " + device_name(self.device);
  if (x.shape.empty() || x.shape.back() != self.linear->input_size()) {
    throw ShapeError("x is " + shape_to_string(x.shape) + "; expected [.., " +
                     std::to_string(self.linear->input_size()) + "]");
  }
  if (x.dtype != self.dtype || x.device != self.device) {
    throw ShapeError("x is " + std::string(dtype_name(x.dtype)) + " on " + device_name(x.device) +
                     "; the linear was made for " + expected);
  }
  if (bias && (bias->numel() != self.linear->output_size() || bias->dtype != self.dtype ||
               bias->device != self.device)) {
    throw ShapeError("bias is " + std::string(dtype_name(bias->dtype)) + " " +
                     shape_to_string(bias->shape) + " on " + device_name(bias->device) +
                     "; expected [" + std::to_string(self.linear->output_size()) + "] " + expected);
  }
}

// The result as an array of x's own library where that is known, else as a Tensor.
nb::object like(nb::handle x, nb::object result) {
  return nb::module_::import_("torchao_cpp._arrays").attr("like")(x, result);
}

nb::object run(const PyLinear& self, nb::handle x_like, nb::handle bias_like, nb::handle out_like,
               std::uintptr_t stream) {
  const Array x = Array::from_object(x_like, "x");
  std::optional<Array> bias;
  if (!bias_like.is_none()) bias = Array::from_object(bias_like, "bias");
  check(self, x, bias);
  Shape shape = x.shape;
  shape.back() = self.linear->output_size();
  const bool makes_output = out_like.is_none();
  const Array y = makes_output ? Array::empty(x.dtype, shape, x.device)
                               : Array::from_object(out_like, "out", true);
  if (y.shape != shape || y.dtype != x.dtype || y.device != x.device) {
    throw ShapeError("out is " + std::string(dtype_name(y.dtype)) + " " + shape_to_string(y.shape) +
                     "; expected " + std::string(dtype_name(x.dtype)) + " " +
                     shape_to_string(shape));
  }
  const std::int64_t m = x.shape.back() == 0 ? 0 : x.numel() / x.shape.back();
  {
    const nb::gil_scoped_release unlocked;
    const std::int64_t bytes = self.linear->workspace_bytes(m);
    std::shared_ptr<std::byte> on_device;
    if (self.device.type == DeviceType::kCUDA && bytes > 0)
      on_device = allocate_on_device(self.device, bytes);
    std::byte* workspace =
        self.device.type == DeviceType::kCUDA ? on_device.get() : host_workspace(bytes);
    self.linear->apply(x.data, m, bias ? bias->data : nullptr, y.data, self.linear->output_size(),
                       {workspace, {reinterpret_cast<void*>(stream)}});
  }
  return makes_output ? like(x_like, nb::cast(y)) : nb::borrow(out_like);
}

nb::object linear_function(nb::handle x, const Weight& weight, nb::handle bias,
                           std::uintptr_t stream) {
  const Array view = Array::from_object(x, "x");
  PyLinear linear{nullptr, view.dtype, view.device};
  {
    const nb::gil_scoped_release unlocked;
    linear.linear = weight.linears->find_or_make(weight.weight, view.dtype, view.device);
  }
  return run(linear, x, bias, nb::none(), stream);
}

/// Linears beside each other in the rows of one output: the parts of a fused layer.
struct FusedLayer {
  struct Part {
    LinearPtr linear;
    std::int64_t offset = 0;
  };
  std::vector<Part> parts;
  std::int64_t output_size = 0;
  std::int64_t element_bytes = 0;
  Device device;

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    std::int64_t most = 0;
    for (const Part& part : parts) most = std::max(most, part.linear->workspace_bytes(m));
    return most;
  }

  void apply(const void* x, std::int64_t m, const std::byte* bias, std::byte* y,
             const LinearContext& context) const noexcept {
    for (const Part& part : parts) {
      const std::int64_t offset = part.offset * element_bytes;
      part.linear->apply(x, m, bias == nullptr ? nullptr : bias + offset, y + offset, output_size,
                         context);
    }
  }
};

/// Layers by handle, so that a host can keep a number where it cannot keep an object.
class LayerTable {
 public:
  std::int64_t add(std::shared_ptr<const FusedLayer> layer) {
    const std::scoped_lock lock(mutex_);
    layers_.push_back(std::move(layer));
    return static_cast<std::int64_t>(layers_.size()) - 1;
  }
  void remove(std::int64_t handle) noexcept {
    const std::scoped_lock lock(mutex_);
    layers_[static_cast<std::size_t>(handle)].reset();
  }
  std::shared_ptr<const FusedLayer> find(std::int64_t handle) {
    const std::scoped_lock lock(mutex_);
    if (handle >= 0 && handle < static_cast<std::int64_t>(layers_.size())) {
      if (auto layer = layers_[static_cast<std::size_t>(handle)]) return layer;
    }
    throw Error("handle " + std::to_string(handle) + " belongs to no FusedLinear that is alive");
  }

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<const FusedLayer>> layers_;
};

LayerTable& layer_table() {
  static auto* const table = new LayerTable;
  return *table;
}

/// A FusedLayer in the table for as long as this lives.
struct FusedLinear {
  explicit FusedLinear(FusedLayer made)
      : layer(std::make_shared<const FusedLayer>(std::move(made))),
        handle(layer_table().add(layer)) {}
  FusedLinear(const FusedLinear&) = delete;
  FusedLinear& operator=(const FusedLinear&) = delete;
  ~FusedLinear() { layer_table().remove(handle); }

  std::shared_ptr<const FusedLayer> layer;
  std::int64_t handle;
};

// A null workspace of a layer on the CPU is the calling thread's own.
void run_layer(std::int64_t handle, const void* x, std::int64_t rows, const void* bias, void* y,
               LinearContext context) {
  const auto layer = layer_table().find(handle);
  if (layer->device.type == DeviceType::kCPU && context.workspace == nullptr)
    context.workspace = host_workspace(layer->workspace_bytes(rows));
  layer->apply(x, rows, static_cast<const std::byte*>(bias), static_cast<std::byte*>(y), context);
}

FusedLayer make_fused(const std::vector<PyLinear>& linears) {
  if (linears.empty()) throw ShapeError("FusedLinear: no linears; expected at least one");
  FusedLayer out;
  out.device = linears.front().device;
  out.element_bytes = dtype_size_bytes(linears.front().dtype);
  for (const PyLinear& one : linears) {
    if (one.dtype != linears.front().dtype || one.device != out.device ||
        one.linear->input_size() != linears.front().linear->input_size()) {
      throw ShapeError("FusedLinear: its parts differ in input size, dtype or device");
    }
    out.parts.push_back({one.linear, out.output_size});
    out.output_size += one.linear->output_size();
  }
  return out;
}

void bind_linear(nb::module_& m) {
  nb::class_<PyLinear>(m, "Linear",
                       "One weight packed for one kernel: y = x Wᵀ + b. Safe to call from many "
                       "threads.")
      .def(
          "__init__",
          [](PyLinear* self, nb::handle weight, nb::handle dtype, std::string_view device,
             std::string_view force_kernel) {
            new (self) PyLinear(make_linear(weight, dtype, device, force_kernel));
          },
          nb::arg("weight"), nb::arg("activation_dtype").none() = nb::none(),
          nb::arg("device") = "cpu", nb::arg("force_kernel") = "",
          "`weight`: a WeightTensor, or a plain array [N, K] in host memory. `activation_dtype`:\n"
          "of x, bias and y; None: that of the weight. `device`: 'cpu' or 'cuda:0'. Raises\n"
          "UnsupportedError with every kernel's reason when none fits.")
      .def("__call__", &run, nb::arg("x"), nb::arg("bias").none() = nb::none(),
           nb::arg("out").none() = nb::none(), nb::arg("stream") = 0,
           "x [.., K] -> [.., N]. The result is an array of x's library (torch, numpy, jax, cupy)\n"
           "or a Tensor; `out` is written to instead. On a GPU the work is queued on `stream`\n"
           "(a cudaStream_t as int; 0: the default stream).")
      .def_prop_ro("input_size", [](const PyLinear& l) { return l.linear->input_size(); })
      .def_prop_ro("output_size", [](const PyLinear& l) { return l.linear->output_size(); })
      .def_prop_ro("dtype", [](const PyLinear& l) { return std::string(dtype_name(l.dtype)); })
      .def_prop_ro("device", [](const PyLinear& l) { return device_name(l.device); })
      .def_prop_ro("kernel", [](const PyLinear& l) { return std::string(l.linear->kernel_name()); })
      .def_prop_ro(
          "rejected_kernels",
          [](const PyLinear& l) {
            const auto rejected = l.linear->rejected_kernels();
            return std::vector<std::string>(rejected.begin(), rejected.end());
          },
          "'name: reason' of the kernels before it in the list.")
      .def_prop_ro("packed_bytes", [](const PyLinear& l) { return l.linear->packed_bytes(); })
      .def("__repr__", [](const PyLinear& l) {
        return "Linear(" + std::to_string(l.linear->input_size()) + " -> " +
               std::to_string(l.linear->output_size()) + ", " +
               std::string(l.linear->kernel_name()) + ")";
      });
  m.def("linear", &linear_function, nb::arg("x"), nb::arg("weight"),
        nb::arg("bias").none() = nb::none(), nb::arg("stream") = 0,
        "x [.., K] times a WeightTensor [N, K]: x Wᵀ + b, as Linear. The packed form is made at\n"
        "the first call for a dtype and device, and stays with the weight.");
}

void run_pointers(std::int64_t handle, std::uintptr_t x, std::int64_t rows, std::uintptr_t bias,
                  std::uintptr_t y, std::uintptr_t workspace, std::uintptr_t stream) {
  const nb::gil_scoped_release unlocked;
  run_layer(handle, reinterpret_cast<const void*>(x), rows, reinterpret_cast<const void*>(bias),
            reinterpret_cast<void*>(y),
            {reinterpret_cast<std::byte*>(workspace), {reinterpret_cast<void*>(stream)}});
}

void bind_fused(nb::module_& m) {
  nb::class_<FusedLinear>(m, "FusedLinear",
                          "Linears side by side in one output: the parts of a fused layer that "
                          "could not be joined. For hosts that hold addresses, such as the plugin "
                          "for vLLM: run_fused_linear takes its handle.")
      .def(
          "__init__",
          [](FusedLinear* self, const std::vector<PyLinear>& linears) {
            new (self) FusedLinear(make_fused(linears));
          },
          nb::arg("linears"))
      .def_ro("handle", &FusedLinear::handle)
      .def_prop_ro("input_size",
                   [](const FusedLinear& f) { return f.layer->parts.front().linear->input_size(); })
      .def_prop_ro("output_size", [](const FusedLinear& f) { return f.layer->output_size; })
      .def_prop_ro("packed_bytes",
                   [](const FusedLinear& f) {
                     std::int64_t sum = 0;
                     for (const auto& part : f.layer->parts) sum += part.linear->packed_bytes();
                     return sum;
                   })
      .def_prop_ro("kernels", [](const FusedLinear& f) {
        std::vector<std::string> names;
        for (const auto& part : f.layer->parts) names.emplace_back(part.linear->kernel_name());
        return names;
      });
  m.def(
      "fused_linear_workspace_bytes",
      [](std::int64_t handle, std::int64_t rows) {
        return layer_table().find(handle)->workspace_bytes(rows);
      },
      nb::arg("handle"), nb::arg("m"), "Scratch that run_fused_linear needs for m rows.");
  m.def("run_fused_linear", &run_pointers, nb::arg("handle"), nb::arg("x"), nb::arg("m"),
        nb::arg("bias"), nb::arg("y"), nb::arg("workspace") = 0, nb::arg("stream") = 0,
        "y [m, N] = x [m, K] Wᵀ + b on addresses of contiguous arrays, unchecked. bias 0: none.\n"
        "workspace 0: the calling thread's own (CPU).");
}

}  // namespace

void run_fused_layer(std::int64_t handle, const void* x, std::int64_t rows, const void* bias,
                     void* y) {
  run_layer(handle, x, rows, bias, y, {});
}

void bind_linears(nb::module_& m) {
  bind_linear(m);
  bind_fused(m);
  m.def(
      "kernels",
      [] {
        nb::list out;
        for (const KernelInfo& row : kernel_infos()) {
          nb::dict entry;
          entry["name"] = row.name;
          entry["operation"] = row.operation;
          entry["isa"] = row.isa;
          entry["runs_here"] = row.runs_here;
          entry["reason"] = row.reason;
          out.append(entry);
        }
        return out;
      },
      "Every kernel of this build, and whether it runs on this machine.");
}

}  // namespace torchao_cpp::python
