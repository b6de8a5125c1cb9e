// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"
#include "torchao_cpp/error.h"

/// Whole model folders: inspect, explain, quantize, dequantize, convert, compare.
namespace torchao_cpp::python {
namespace {

nb::dict as_dict(const ParameterInfo& row) {
  nb::dict out;
  out["fqn"] = row.fqn;
  out["shape"] = row.shape;
  out["dtype"] = row.dtype;
  out["class"] = row.weight_class;
  out["detail"] = row.detail;
  out["nbytes"] = row.nbytes;
  out["bits_per_weight"] = row.bits_per_weight;
  return out;
}

nb::dict as_dict(const LinearReport& row) {
  nb::dict out;
  out["prefix"] = row.prefix;
  out["method"] = row.method;
  out["config"] = row.config;
  out["rule"] = row.rule;
  out["reason"] = row.reason;
  out["weight_class"] = row.weight_class;
  out["weight_detail"] = row.weight_detail;
  out["kernel"] = row.kernel;
  out["rejected_kernels"] = row.rejected_kernels;
  out["weight_bytes"] = row.weight_bytes;
  out["shape"] = row.shape;
  return out;
}

nb::dict as_dict(const ConvertReport::Row& row) {
  nb::dict out;
  out["fqn"] = row.fqn;
  out["weight_class"] = row.weight_class;
  out["reason"] = row.reason;
  out["bytes_before"] = row.bytes_before;
  out["bytes_after"] = row.bytes_after;
  return out;
}

nb::dict as_dict(const ConvertModelReport::Row& row) {
  nb::dict out;
  out["fqn"] = row.fqn;
  out["class_before"] = row.class_before;
  out["class_after"] = row.class_after;
  out["changes"] = row.changes;
  out["bytes_before"] = row.bytes_before;
  out["bytes_after"] = row.bytes_after;
  return out;
}

nb::dict as_dict(const DiffReport::Row& row) {
  nb::dict out;
  out["fqn"] = row.fqn;
  out["class_a"] = row.class_a;
  out["class_b"] = row.class_b;
  out["problem"] = row.problem;
  out["sqnr_db"] = row.numbers.sqnr_db;
  out["max_abs_error"] = row.numbers.max_abs_error;
  out["mean_abs_error"] = row.numbers.mean_abs_error;
  out["is_equal"] = row.numbers.is_equal;
  return out;
}

template <typename Row>
nb::list as_list(const std::vector<Row>& rows) {
  nb::list out;
  for (const Row& row : rows) out.append(as_dict(row));
  return out;
}

nb::dict inspect(nb::handle directory) {
  const std::string path = path_argument(directory);
  ModelInfo info;
  {
    const nb::gil_scoped_release unlocked;
    info = inspect_model(path);
  }
  nb::dict out;
  out["architecture"] = info.architecture;
  out["model_type"] = info.model_type;
  out["quantization_config"] =
      info.quantization_config.empty() ? nb::none() : json_value(info.quantization_config);
  out["is_torchao_serialized"] = info.is_torchao_serialized;
  out["parameters"] = as_list(info.parameters);
  out["tied"] = info.tied;
  out["warnings"] = info.warnings;
  out["nbytes"] = info.nbytes;
  out["num_parameters"] = info.num_parameters;
  return out;
}

nb::list explain(nb::handle directory, nb::handle quantization, SelectionMode mode) {
  const std::string path = path_argument(directory);
  ModelOptions options;
  options.selection_mode = mode;
  if (!quantization.is_none()) options.quantization = quantization_argument(quantization);
  std::vector<LinearReport> rows;
  {
    const nb::gil_scoped_release unlocked;
    rows = explain_model(path, options);
  }
  return as_list(rows);
}

nb::dict convert_report(const ConvertReport& report) {
  nb::dict out;
  out["rows"] = as_list(report.rows);
  out["bytes_before"] = report.bytes_before;
  out["bytes_after"] = report.bytes_after;
  out["notices"] = report.notices;
  return out;
}

nb::dict quantize_folder(nb::handle source, nb::handle destination, nb::handle quantization,
                         nb::object progress) {
  const std::string from = path_argument(source);
  const std::string to = path_argument(destination);
  ConvertOptions options{quantization_argument(quantization), std::nullopt,
                         progress_to(std::move(progress)), nullptr};
  ConvertReport report;
  {
    const nb::gil_scoped_release unlocked;
    report = quantize_model(from, to, options);
  }
  return convert_report(report);
}

nb::dict dequantize_folder(nb::handle source, nb::handle destination, nb::handle dtype,
                           nb::object progress) {
  const std::string from = path_argument(source);
  const std::string to = path_argument(destination);
  const std::optional<DType> type = optional_dtype_argument(dtype);
  const ProgressCallback callback = progress_to(std::move(progress));
  ConvertReport report;
  {
    const nb::gil_scoped_release unlocked;
    report = dequantize_model(from, to, type, callback);
  }
  return convert_report(report);
}

nb::dict convert_folder(nb::handle source, nb::handle destination, nb::object progress) {
  const std::string from = path_argument(source);
  const std::string to = path_argument(destination);
  const ConvertModelOptions options{progress_to(std::move(progress)), nullptr};
  ConvertModelReport report;
  {
    const nb::gil_scoped_release unlocked;
    report = convert_model(from, to, options);
  }
  nb::dict out;
  out["form_before"] = report.form_before;
  out["form_after"] = report.form_after;
  out["rows"] = as_list(report.rows);
  out["bytes_before"] = report.bytes_before;
  out["bytes_after"] = report.bytes_after;
  out["notices"] = report.notices;
  return out;
}

nb::dict diff_folders(nb::handle a, nb::handle b, nb::object progress) {
  const std::string left = path_argument(a);
  const std::string right = path_argument(b);
  const DiffOptions options{progress_to(std::move(progress)), nullptr};
  DiffReport report;
  {
    const nb::gil_scoped_release unlocked;
    report = diff_checkpoints(left, right, options);
  }
  nb::dict out;
  out["rows"] = as_list(report.rows);
  out["only_in_a"] = report.only_in_a;
  out["only_in_b"] = report.only_in_b;
  out["sqnr_db"] = report.total.sqnr_db;
  out["compared"] = report.compared;
  out["equal"] = report.equal;
  return out;
}

nb::dict random_model(nb::handle config, nb::handle destination, std::uint64_t seed,
                      nb::handle dtype, nb::object progress) {
  const std::string from = path_argument(config);
  const std::string to = path_argument(destination);
  RandomModelOptions options;
  options.seed = seed;
  options.dtype = optional_dtype_argument(dtype);
  options.progress = progress_to(std::move(progress));
  RandomModelReport report;
  {
    const nb::gil_scoped_release unlocked;
    report = make_random_model(from, to, options);
  }
  nb::dict out;
  out["dtype"] = std::string(dtype_name(report.dtype));
  out["tensors"] = report.tensors;
  out["num_parameters"] = report.num_parameters;
  out["nbytes"] = report.nbytes;
  out["notices"] = report.notices;
  return out;
}

}  // namespace

ProgressCallback progress_to(nb::object callback) {
  // The last reference may go where the GIL is not held.
  std::shared_ptr<nb::object> held(new nb::object(std::move(callback)), [](nb::object* object) {
    const nb::gil_scoped_acquire locked;
    delete object;
  });
  return [held](std::string_view stage, std::int64_t done, std::int64_t total) {
    const nb::gil_scoped_acquire locked;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (!held->is_none()) (*held)(nb::str(stage.data(), stage.size()), done, total);
  };
}

void bind_reports(nb::module_& m) {
  m.def("inspect_model", &inspect, nb::arg("directory"),
        "What a model folder holds, without loading it: a dict with a row for each parameter.");
  m.def("explain_model", &explain, nb::arg("directory"),
        nb::arg("quantization").none() = nb::none(),
        nb::arg("selection_mode") = SelectionMode::kPackedModules,
        "For each linear of a model: its config, the rule, the kernel, and why.");
  m.def(
      "quantize_model", &quantize_folder, nb::arg("source"), nb::arg("destination"),
      nb::arg("quantization"), nb::arg("progress").none() = nb::none(),
      "Writes a torchao checkpoint of a model into a new folder, as torchao and transformers load\n"
      "it. `quantization`: a shorthand, JSON, a file, a dict, a config or a TorchAOConfig.\n"
      "`progress(stage, done_bytes, total_bytes)`. Nothing is left behind on an error.");
  m.def("dequantize_model", &dequantize_folder, nb::arg("source"), nb::arg("destination"),
        nb::arg("dtype").none() = nb::none(), nb::arg("progress").none() = nb::none(),
        "The reverse of quantize_model.");
  m.def(
      "convert_model", &convert_folder, nb::arg("source"), nb::arg("destination"),
      nb::arg("progress").none() = nb::none(),
      "Rewrites a torchao checkpoint of any version, .bin files too, in today's form. Values stay\n"
      "as they are, bit for bit.");
  m.def("diff_checkpoints", &diff_folders, nb::arg("a"), nb::arg("b"),
        nb::arg("progress").none() = nb::none(),
        "How far two checkpoints are apart, weight by weight.");
  m.def("make_random_model", &random_model, nb::arg("config_file"), nb::arg("destination"),
        nb::arg("seed") = 0, nb::arg("dtype").none() = nb::none(),
        nb::arg("progress").none() = nb::none(),
        "Writes a model folder with random weights for a config.json.");
}

}  // namespace torchao_cpp::python
