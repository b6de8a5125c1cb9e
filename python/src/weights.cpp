// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"
#include "linear_cache.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp::python {
namespace {

/// quantize_tensor's result.
struct Outcome {
  std::optional<Weight> weight;
  std::string reason;
  std::string notice;
};

Outcome quantize_array(nb::handle weight, nb::handle config_like) {
  const ConfigPtr config = config_argument(config_like);
  const Tensor tensor = Array::from_object(weight, "weight").tensor("weight");
  QuantizeOutcome outcome;
  {
    const nb::gil_scoped_release unlocked;
    outcome = quantize_tensor(tensor, *config);
  }
  Outcome out{std::nullopt, std::move(outcome.reason), std::move(outcome.notice)};
  if (outcome.weight) out.weight = make_weight(std::move(outcome.weight));
  return out;
}

Weight quantize_or_raise(nb::handle weight, nb::handle config) {
  Outcome out = quantize_array(weight, config);
  if (!out.weight) {
    throw ShapeError("torchao leaves this weight unquantized: " + out.reason +
                         "; quantize_tensor() returns the reason instead of raising",
                     "left_unquantized");
  }
  return *std::move(out.weight);
}

Array dequantize(const Weight& w, nb::handle output_dtype) {
  const std::optional<DType> dtype = optional_dtype_argument(output_dtype);
  const nb::gil_scoped_release unlocked;
  return Array::of(w.weight->dequantize(dtype));
}

Weight from_parts(std::string class_name, nb::handle attributes, nb::dict parts, std::string fqn) {
  TensorParts stored;
  stored.class_name = std::move(class_name);
  stored.attributes = json_text(attributes);
  for (const auto& [name, array] : parts) {
    const std::string key = nb::cast<std::string>(name);
    stored.parts.emplace_back(key, Array::from_object(array, key.c_str()).tensor(key.c_str()));
  }
  return make_weight(weight_from_parts(stored, fqn));
}

nb::dict parts_of(const Weight& w) {
  nb::dict out;
  for (auto& [name, tensor] : w.weight->to_parts().parts)
    out[name.c_str()] = nb::cast(Array::of(std::move(tensor)));
  return out;
}

std::optional<Weight> concat_rows_of(const std::vector<Weight>& weights) {
  if (weights.empty()) throw ShapeError("concat_rows: no weights; expected at least one");
  std::vector<WeightTensorPtr> parts;
  for (const Weight& w : weights) parts.push_back(w.weight);
  if (parts.size() == 1) return weights.front();
  WeightTensorPtr joined = parts.front()->concat_rows(parts);
  if (!joined) return std::nullopt;
  return make_weight(std::move(joined));
}

}  // namespace

Weight make_weight(WeightTensorPtr weight) {
  return {std::move(weight), std::make_shared<LinearCache>()};
}

void bind_weights(nb::module_& m) {
  nb::class_<Weight>(m, "WeightTensor",
                     "A quantized weight [N, K], as a torchao tensor subclass holds it. Immutable.")
      .def_prop_ro(
          "class_name", [](const Weight& w) { return std::string(w.weight->class_name()); },
          "torchao's class, e.g. 'Int8Tensor'.")
      .def_prop_ro("shape", [](const Weight& w) { return nb::tuple(nb::cast(w.weight->shape())); })
      .def_prop_ro(
          "dtype", [](const Weight& w) { return std::string(dtype_name(w.weight->dtype())); },
          "Of the weight before quantization.")
      .def_prop_ro(
          "nbytes", [](const Weight& w) { return w.weight->nbytes(); }, "Bytes of all parts.")
      .def_prop_ro(
          "attributes", [](const Weight& w) { return json_value(w.weight->to_parts().attributes); },
          "The attributes as torchao's safetensors metadata hold them.")
      .def_prop_ro("parts", &parts_of,
                   "Name -> Tensor ('qdata', 'scale', ..), as a checkpoint "
                   "stores them.")
      .def("dequantize", &dequantize, nb::arg("output_dtype").none() = nb::none(),
           "The weight [N, K], bit for bit as torchao dequantizes it.")
      .def(
          "slice",
          [](const Weight& w, int dim, std::int64_t start, std::int64_t end) {
            return make_weight(w.weight->slice(dim, start, end));
          },
          nb::arg("dim"), nb::arg("start"), nb::arg("end"),
          "Rows (dim 0) or columns (dim 1) start:end. Raises ShapeError where the slice is not\n"
          "exactly representable.")
      .def(
          "describe", [](const Weight& w) { return w.weight->describe(); }, "One line.")
      .def_static("from_parts", &from_parts, nb::arg("class_name"), nb::arg("attributes"),
                  nb::arg("parts"), nb::arg("fqn") = "weight",
                  "From what a checkpoint stores; keeps the arrays without copying. Raises\n"
                  "CheckpointError, naming `fqn`.")
      .def_static(
          "from_torchao",
          [](nb::handle tensor, nb::handle fqn) {
            return nb::module_::import_("torchao_cpp._torchao").attr("from_torchao")(tensor, fqn);
          },
          nb::arg("tensor"), nb::arg("fqn") = "weight",
          "From a tensor subclass of an installed torchao, without copying.")
      .def_static("concat_rows", &concat_rows_of, nb::arg("weights"),
                  "Weights stacked along dim 0 as one, or None where that would change a value.")
      .def("__repr__", [](const Weight& w) {
        return std::string(w.weight->class_name()) +
               "(shape=" + shape_to_string(w.weight->shape()) + ", " + w.weight->describe() + ")";
      });

  nb::class_<Outcome>(m, "QuantizeOutcome", "What quantize_tensor found.")
      .def_ro("weight", &Outcome::weight, "None: torchao leaves the weight unquantized.")
      .def_ro("reason", &Outcome::reason, "Why there is no weight; empty otherwise.")
      .def_ro("notice", &Outcome::notice,
              "Why the weight is of another class than the config asks for; empty otherwise.");
  m.def("quantize", &quantize_or_raise, nb::arg("weight"), nb::arg("config"),
        "torchao's quantize_ for one linear weight [N, K] (float32, float16 or bfloat16 in host\n"
        "memory), bit for bit. `config` is anything that as_config takes: 'int4wo-128', a dict, a\n"
        "config of torchao. Raises ShapeError where torchao would leave the weight alone.");
  m.def("quantize_tensor", &quantize_array, nb::arg("weight"), nb::arg("config"),
        "As quantize, but a weight that torchao leaves alone gives the reason.");
  m.def("dequantize", &dequantize, nb::arg("weight"), nb::arg("output_dtype").none() = nb::none(),
        "weight.dequantize(output_dtype).");
  m.def(
      "weight_classes",
      [] {
        nb::list out;
        for (const WeightClassInfo& row : weight_class_infos()) {
          nb::dict entry;
          entry["name"] = row.name;
          entry["family"] = row.family;
          entry["configs"] = row.configs;
          entry["operations"] = row.operations;
          entry["safetensors_versions"] = row.safetensors_versions;
          entry["not_run"] = row.not_run;
          out.append(entry);
        }
        return out;
      },
      "Every class of quantized weights that this build knows.");
}

}  // namespace torchao_cpp::python
