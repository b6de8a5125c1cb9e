// SPDX-License-Identifier: Apache-2.0
#include "bindings.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp::python {
namespace {

std::vector<std::string> strings(std::span<const std::string> names) {
  return {names.begin(), names.end()};
}

// A plain entry as a Tensor, a quantized one as a WeightTensor.
nb::object value_of(const Checkpoint& checkpoint, std::string_view fqn) {
  const CheckpointEntry entry = checkpoint.entry(fqn);
  if (!entry.parts) return nb::cast(Array::of(entry.plain));
  return nb::cast(make_weight(weight_from_parts(*entry.parts, fqn)));
}

void save_array(const std::string& path, nb::dict tensors, nb::dict metadata) {
  std::vector<std::pair<std::string, Tensor>> rows;
  for (const auto& [name, array] : tensors) {
    const std::string key = nb::cast<std::string>(name);
    rows.emplace_back(key, Array::from_object(array, key.c_str()).tensor(key.c_str()));
  }
  std::vector<std::pair<std::string, std::string>> texts;
  for (const auto& [key, value] : metadata)
    texts.emplace_back(nb::cast<std::string>(key), nb::cast<std::string>(value));
  const nb::gil_scoped_release unlocked;
  write_safetensors(path, rows, texts);
}

/// CheckpointWriter, whose end must not depend on Python's garbage collector.
struct Writer {
  std::unique_ptr<CheckpointWriter> writer;

  CheckpointWriter& get() {
    if (!writer) throw Error("the checkpoint is finished already", "finished");
    return *writer;
  }
};

void bind_writer(nb::module_& m) {
  nb::class_<Writer>(m, "CheckpointWriter",
                     "Writes a model folder in torchao's flattened safetensors. The folder appears "
                     "with finish(); as a context manager it is finished on success and dropped on "
                     "an exception.")
      .def(
          "__init__",
          [](Writer* self, nb::handle directory, std::int64_t max_shard_bytes) {
            const std::string path = path_argument(directory);
            new (self) Writer{std::make_unique<CheckpointWriter>(path, max_shard_bytes)};
          },
          nb::arg("directory"), nb::arg("max_shard_bytes") = std::int64_t{5} << 30)
      .def(
          "add",
          [](Writer& w, std::string fqn, nb::handle value) {
            Weight* quantized = nullptr;
            if (nb::try_cast(value, quantized) && quantized != nullptr)
              w.get().add(std::move(fqn), quantized->weight->to_parts());
            else
              w.get().add(std::move(fqn), Array::from_object(value, "value").tensor("value"));
          },
          nb::arg("fqn"), nb::arg("value"), "Queues an array or a WeightTensor; nothing is copied.")
      .def(
          "add_file",
          [](Writer& w, std::string_view name, std::string_view content) {
            w.get().add_file(name, content);
          },
          nb::arg("file_name"), nb::arg("content"), "A further file, such as config.json.")
      .def(
          "copy_file",
          [](Writer& w, nb::handle source) { w.get().copy_file(path_argument(source)); },
          nb::arg("source"))
      .def("finish",
           [](Writer& w) {
             CheckpointWriter& writer = w.get();
             {
               const nb::gil_scoped_release unlocked;
               writer.finish();
             }
             w.writer.reset();
           })
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](nb::handle self, nb::handle type, nb::handle, nb::handle) {
            Writer& w = nb::cast<Writer&>(self);
            if (type.is_none() && w.writer) self.attr("finish")();
            w.writer.reset();
            return false;
          },
          nb::arg("type").none(), nb::arg("value").none(), nb::arg("traceback").none());
}

}  // namespace

void bind_checkpoints(nb::module_& m) {
  nb::class_<CheckpointEntry>(m, "CheckpointEntry", "One entry as it is stored.")
      .def_ro("fqn", &CheckpointEntry::fqn)
      .def_prop_ro("is_quantized", [](const CheckpointEntry& e) { return e.parts.has_value(); })
      .def_prop_ro("class_name",
                   [](const CheckpointEntry& e) {
                     return e.parts ? e.parts->class_name : std::string("Tensor");
                   })
      .def_ro("stored_class", &CheckpointEntry::stored_class,
              "The class in the file; differs where an old one was read as one of today.")
      .def_prop_ro("attributes",
                   [](const CheckpointEntry& e) -> nb::object {
                     if (!e.parts) return nb::dict();
                     return json_value(e.parts->attributes);
                   })
      .def_prop_ro("parts", [](const CheckpointEntry& e) {
        nb::dict out;
        if (!e.parts) {
          out["data"] = nb::cast(Array::of(e.plain));
          return out;
        }
        for (const auto& [name, tensor] : e.parts->parts)
          out[name.c_str()] = nb::cast(Array::of(tensor));
        return out;
      });
  nb::class_<Checkpoint>(
      m, "Checkpoint",
      "A model folder or file, memory-mapped and checked: safetensors with or "
      "without torchao's weights, or the .bin files of torch.save with torchao's "
      "classes of 0.7 to 0.18. A mapping from names to Tensor or WeightTensor.")
      .def(
          "__init__",
          [](Checkpoint* self, nb::handle path_like) {
            const std::string path = path_argument(path_like);
            const nb::gil_scoped_release unlocked;
            new (self) Checkpoint(path);
          },
          nb::arg("path"), "Raises IoError or CheckpointError, naming file and entry.")
      .def("keys", [](const Checkpoint& c) { return strings(c.names()); })
      .def("__len__", [](const Checkpoint& c) { return c.names().size(); })
      .def("__iter__", [](const Checkpoint& c) { return nb::iter(nb::cast(strings(c.names()))); })
      .def("__contains__",
           [](const Checkpoint& c, std::string_view fqn) { return c.contains(fqn); })
      .def(
          "__getitem__", &value_of, nb::arg("fqn"),
          "A Tensor (borrowed from the file, read-only) or a WeightTensor. Raises CheckpointError\n"
          "with near matches for an unknown name.")
      .def(
          "entry", [](const Checkpoint& c, std::string_view fqn) { return c.entry(fqn); },
          nb::arg("fqn"), "The entry as stored, without checking it against its class.")
      .def_prop_ro("tied_names", [](const Checkpoint& c) { return strings(c.tied_names()); })
      .def_prop_ro("is_torchao_serialized", &Checkpoint::is_torchao_serialized)
      .def_prop_ro("nbytes", &Checkpoint::nbytes)
      .def_prop_ro("warnings", [](const Checkpoint& c) { return strings(c.warnings()); })
      .def("__repr__", [](const Checkpoint& c) {
        return "Checkpoint(" + std::to_string(c.names().size()) + " entries, " +
               std::to_string(c.nbytes()) + " bytes)";
      });
  bind_writer(m);
  m.def(
      "write_safetensors",
      [](nb::handle path, nb::dict tensors, nb::dict metadata) {
        save_array(path_argument(path), std::move(tensors), std::move(metadata));
      },
      nb::arg("path"), nb::arg("tensors"), nb::arg("metadata") = nb::dict(),
      "Plain arrays to one safetensors file, by temporary name and rename.");
}

}  // namespace torchao_cpp::python
