// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/error.h"

#include <array>
#include <exception>

#include "bindings.h"

namespace torchao_cpp::python {
namespace {

enum Kind { kError, kConfig, kCheckpoint, kShape, kUnsupported, kIo, kDevice, kKinds };

// Borrowed for the life of the process: the module holds them too.
std::array<PyObject*, kKinds> g_types{};

nb::object make_type(nb::module_& m, const char* name, const char* doc, nb::tuple bases) {
  nb::dict members;
  members["__doc__"] = doc;
  members["__module__"] = "torchao_cpp";
  nb::object type = nb::module_::import_("builtins").attr("type")(name, bases, members);
  m.attr(name) = type;
  return type;
}

void set_error(Kind kind, const Error& error) {
  const nb::object type = nb::borrow(g_types[kind]);
  nb::object instance = type(nb::str(error.what(), std::string_view(error.what()).size()));
  instance.attr("kind") = error.kind();
  PyErr_SetObject(type.ptr(), instance.ptr());
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const ConfigError& error) {
    set_error(kConfig, error);
  } catch (const CheckpointError& error) {
    set_error(kCheckpoint, error);
  } catch (const ShapeError& error) {
    set_error(kShape, error);
  } catch (const UnsupportedError& error) {
    set_error(kUnsupported, error);
  } catch (const IoError& error) {
    set_error(kIo, error);
  } catch (const DeviceError& error) {
    set_error(kDevice, error);
  } catch (const Error& error) {
    set_error(kError, error);
  }
}

}  // namespace

void bind_errors(nb::module_& m) {
  const nb::module_ builtins = nb::module_::import_("builtins");
  const auto add = [&](Kind kind, const char* name, const char* base, const char* doc) {
    const nb::object parent = kind == kError ? nb::object() : nb::borrow(g_types[kError]);
    nb::tuple bases = parent.is_valid() ? nb::make_tuple(parent, builtins.attr(base))
                                        : nb::make_tuple(builtins.attr(base));
    g_types[kind] = make_type(m, name, doc, bases).release().ptr();
  };
  add(kError, "Error", "Exception",
      "Root of what torchao_cpp raises for something a caller or a file caused. `kind` is a "
      "stable\n"
      "machine-readable cause, such as 'unknown_field', or empty.");
  add(kConfig, "ConfigError", "ValueError", "A quantization config or rule that is not accepted.");
  add(kCheckpoint, "CheckpointError", "ValueError",
      "A checkpoint, index or tokenizer file whose content is not accepted.");
  add(kShape, "ShapeError", "ValueError", "Shapes that do not fit together or the format.");
  add(kUnsupported, "UnsupportedError", "NotImplementedError",
      "Valid input that this build or this machine cannot run.");
  add(kIo, "IoError", "OSError", "The system refused to open, read or write a file.");
  add(kDevice, "DeviceError", "RuntimeError",
      "A device is absent, out of memory, or reported an error.");
  nb::register_exception_translator(translate);
}

}  // namespace torchao_cpp::python
