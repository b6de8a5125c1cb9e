// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "array.h"
#include "torchao_cpp/config.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/llm.h"
#include "torchao_cpp/torchao_config.h"
#include "torchao_cpp/weight_tensor.h"

/// What the files of the module share.
namespace torchao_cpp::python {

namespace nb = nanobind;

/// AOBaseConfig as a Python value.
struct Config {
  ConfigPtr config;
};

/// WeightTensor as a Python value. The linears that linear() made of it stay with it.
struct Weight {
  WeightTensorPtr weight;
  std::shared_ptr<struct LinearCache> linears;
};
Weight make_weight(WeightTensorPtr weight);

/// JSON text of a str (as it is) or of anything that json.dumps takes.
std::string json_text(nb::handle value);
/// json.loads.
nb::object json_value(std::string_view text);

/// A Config, a shorthand, torchao's JSON text, its dict, or an object of torchao's own.
ConfigPtr config_argument(nb::handle value);
/// A TorchAOConfig, anything that config_argument takes, or what TorchAOConfig::from_user takes.
TorchAOConfig quantization_argument(nb::handle value);
/// warnings.warn for each.
void raise_warnings(const std::vector<ConfigWarning>& warnings);

/// "bfloat16", "bf16", torch.bfloat16, numpy.dtype("float32").
DType dtype_argument(nb::handle value);
std::optional<DType> optional_dtype_argument(nb::handle value);
/// "cpu", "cuda", "cuda:1".
Device device_argument(std::string_view text);
std::string device_name(Device device);
/// A str or os.PathLike.
std::string path_argument(nb::handle value);

/// Calls `callback` (may be None) with the GIL held, and lets Ctrl-C end the call.
ProgressCallback progress_to(nb::object callback);

/// FusedLinear's product on addresses of contiguous arrays, unchecked; bias may be null. Needs no
/// GIL. Throws Error for a handle that is not alive.
void run_fused_layer(std::int64_t handle, const void* x, std::int64_t rows, const void* bias,
                     void* y);

void bind_errors(nb::module_& m);
void bind_arrays(nb::module_& m);
void bind_configs(nb::module_& m);
void bind_weights(nb::module_& m);
void bind_linears(nb::module_& m);
void bind_host_threads(nb::module_& m);
void bind_checkpoints(nb::module_& m);
void bind_reports(nb::module_& m);
void bind_models(nb::module_& m);
void bind_torch_op(nb::module_& m);

}  // namespace torchao_cpp::python
