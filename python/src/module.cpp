// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "bindings.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp::python {

DType dtype_argument(nb::handle value) {
  std::string name = nb::cast<std::string>(nb::str(value));
  if (name.starts_with("torch.")) name.erase(0, 6);
  if (const auto dtype = dtype_from_name(name)) return *dtype;
  if (const auto dtype = compute_dtype_from_name(name)) return *dtype;
  throw UnsupportedError("dtype '" + name + "' is unknown; expected a name such as 'bfloat16'");
}

std::optional<DType> optional_dtype_argument(nb::handle value) {
  if (value.is_none()) return std::nullopt;
  return dtype_argument(value);
}

Device device_argument(std::string_view text) {
  if (text == "cpu") return Device::cpu();
  if (text == "cuda") return Device::cuda(0);
  if (text.starts_with("cuda:")) {
    int index = 0;
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (error == std::errc() && end == text.data() + text.size() && index >= 0)
      return Device::cuda(index);
  }
  throw DeviceError("device '" + std::string(text) + "' is unknown; expected 'cpu' or 'cuda:0'");
}

std::string device_name(Device device) {
  return device.type == DeviceType::kCPU ? "cpu" : "cuda:" + std::to_string(device.index);
}

std::string path_argument(nb::handle value) {
  return nb::cast<std::string>(nb::module_::import_("os").attr("fspath")(value));
}

}  // namespace torchao_cpp::python

NB_MODULE(_torchao_cpp, m) {
  using namespace torchao_cpp;
  namespace nb = nanobind;
  using namespace torchao_cpp::python;
  nb::set_leak_warnings(false);  // Hosts such as vLLM end without collecting their objects.
  m.doc() = "Bindings of torchao.cpp; use the package torchao_cpp.";
  bind_errors(m);
  bind_arrays(m);
  bind_configs(m);
  bind_weights(m);
  bind_linears(m);
  bind_host_threads(m);
  bind_checkpoints(m);
  bind_reports(m);
  bind_models(m);
  bind_torch_op(m);
  m.def("set_threads", &set_threads, nb::arg("n"), "Threads of all parallel work; n >= 1.");
  m.def("threads", &threads, "Threads of all parallel work.");
  m.attr("__version__") = std::string(version());
}
