// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/map.h>

#include <map>

#include "bindings.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"

namespace torchao_cpp::python {
namespace {

std::string class_name_of(nb::handle value) {
  return nb::cast<std::string>(nb::str(value.type().attr("__name__")));
}

// True for an object whose class is defined under torchao, which need not be installed.
bool is_torchao_config(nb::handle value) {
  if (!nb::hasattr(value.type(), "__mro__")) return false;
  for (nb::handle base : nb::borrow<nb::tuple>(value.type().attr("__mro__"))) {
    const nb::str module = nb::str(base.attr("__module__"));
    if (std::string_view(module.c_str()) == "torchao.core.config") return true;
  }
  return false;
}

std::string repr(const Config& c) {
  return std::string(c.config->type_name()) + "(" + config_to_dict(*c.config) + ")";
}

std::map<std::string, std::vector<std::string>> plain_mapping(const PackedModulesMapping& mapping) {
  return {mapping.begin(), mapping.end()};
}

template <typename Make>
TorchAOConfig with_warnings(Make make) {
  std::vector<ConfigWarning> warnings;
  TorchAOConfig out = make(&warnings);
  raise_warnings(warnings);
  return out;
}

void bind_config(nb::module_& m) {
  nb::class_<Config>(
      m, "AOBaseConfig",
      "A parsed and checked torchao config, e.g. an Int4WeightOnlyConfig. Immutable.")
      .def_prop_ro(
          "type_name", [](const Config& c) { return std::string(c.config->type_name()); },
          "torchao's class name.")
      .def_prop_ro("version", [](const Config& c) { return c.config->version(); })
      .def_prop_ro(
          "fqn_to_config",
          [](const Config& c) {
            nb::dict out;
            for (const auto& [fqn, child] : c.config->fqn_to_config())
              out[fqn.c_str()] = child ? nb::cast(Config{child}) : nb::none();
            return out;
          },
          "Entries of an FqnToConfig in order, None for 'leave alone'; empty for others.")
      .def(
          "to_dict", [](const Config& c) { return json_value(config_to_dict(*c.config)); },
          "What torchao's config_to_dict gives.")
      .def(
          "__eq__",
          [](const Config& c, nb::handle other) {
            Config right;
            return nb::try_cast(other, right) &&
                   config_to_dict(*c.config) == config_to_dict(*right.config);
          },
          nb::arg("other").none())
      .def("__hash__",
           [](const Config& c) { return std::hash<std::string>()(config_to_dict(*c.config)); })
      .def("__repr__", &repr);

  m.def(
      "config_from_dict",
      [](nb::handle data) {
        std::vector<ConfigWarning> warnings;
        Config out{config_from_dict(json_text(data), &warnings)};
        raise_warnings(warnings);
        return out;
      },
      nb::arg("data"),
      "torchao's config_from_dict: a dict or JSON text with _type, _version and _data.\n"
      "As strict as torchao 0.18; raises ConfigError.");
  m.def(
      "config_to_dict", [](const Config& c) { return json_value(config_to_dict(*c.config)); },
      nb::arg("config"), "torchao's config_to_dict.");
  m.def(
      "config_from_shorthand",
      [](std::string_view text) -> std::optional<Config> {
        ConfigPtr config = config_from_shorthand(text);
        if (!config) return std::nullopt;
        return Config{std::move(config)};
      },
      nb::arg("text"), "The config of a shorthand such as 'int4wo-128', or None.");
  m.def(
      "as_config", [](nb::handle value) { return Config{config_argument(value)}; },
      nb::arg("config"),
      "A config from a shorthand, JSON text, a dict, or a config object of torchao itself.");
  m.def(
      "shorthands",
      [] {
        std::vector<std::pair<std::string, std::string>> out;
        for (const ShorthandInfo& row : shorthand_list())
          out.emplace_back(row.pattern, row.meaning);
        return out;
      },
      "Every shorthand with its meaning.");
}

void bind_decision(nb::module_& m) {
  using Source = LayerDecision::Source;
  nb::enum_<Source>(m, "DecisionSource", "What decided a layer.")
      .value("NO_QUANTIZATION", Source::kNoQuantization)
      .value("SKIPPED", Source::kSkipped)
      .value("EXACT_NAME", Source::kExactName)
      .value("REGEX", Source::kRegex)
      .value("DEFAULT", Source::kDefault)
      .value("WHOLE_MODEL", Source::kWholeModel)
      .value("NO_RULE", Source::kNoRule)
      .value("PARTS_DISAGREE", Source::kPartsDisagree);
  nb::enum_<SelectionMode>(m, "SelectionMode", "How fused layers are decided.")
      .value("PACKED_MODULES", SelectionMode::kPackedModules,
             "Rules for the parts (q_proj, ..) hold for the fused layer.")
      .value("VLLM", SelectionMode::kVllm, "As vLLM: only the fused name is looked at.");
  nb::class_<LayerDecision>(m, "LayerDecision", "Which config a layer gets, if any, and why.")
      .def_prop_ro(
          "config",
          [](const LayerDecision& d) -> std::optional<Config> {
            if (!d.config) return std::nullopt;
            return Config{d.config};
          },
          "None: unquantized.")
      .def_ro("source", &LayerDecision::source)
      .def_ro("rule", &LayerDecision::rule, "The key or skip entry that decided.")
      .def_ro("reason", &LayerDecision::reason, "One sentence.")
      .def("__repr__", [](const LayerDecision& d) {
        const std::string name = d.config ? std::string(d.config->type_name()) : "None";
        return "LayerDecision(config=" + name + ", reason='" + d.reason + "')";
      });
  m.def(
      "should_skip",
      [](std::string_view prefix, const std::vector<std::string>& skip_modules) {
        return should_skip(prefix, skip_modules);
      },
      nb::arg("prefix"), nb::arg("skip_modules"),
      "True when an entry equals `prefix` or occurs in it as whole dotted components.");
}

void bind_torchao_config(nb::module_& m) {
  nb::class_<TorchAOConfig>(m, "TorchAOConfig",
                            "A torchao config plus the layers it must not touch, as vLLM's class "
                            "of the same name.")
      .def(
          "__init__",
          [](TorchAOConfig* self, nb::handle config, std::vector<std::string> skip,
             bool is_serialized) {
            ConfigPtr parsed = config.is_none() ? nullptr : config_argument(config);
            new (self) TorchAOConfig(std::move(parsed), std::move(skip), is_serialized);
          },
          nb::arg("torchao_config").none(), nb::arg("skip_modules") = std::vector<std::string>(),
          nb::arg("is_checkpoint_torchao_serialized") = false)
      .def_static(
          "from_config",
          [](nb::handle config) {
            const std::string text = json_text(config);
            return with_warnings([&](auto* w) { return TorchAOConfig::from_config(text, w); });
          },
          nb::arg("config"), "From a Hugging Face quantization_config (dict or JSON text).")
      .def_static(
          "from_config_file",
          [](nb::handle path) {
            return with_warnings(
                [&](auto* w) { return TorchAOConfig::from_config_file(path_argument(path), w); });
          },
          nb::arg("config_file"), "From a file with torchao's config_to_dict as JSON.")
      .def_static(
          "from_config_dict_json",
          [](std::string_view text) {
            return with_warnings(
                [&](auto* w) { return TorchAOConfig::from_config_dict_json(text, w); });
          },
          nb::arg("config_dict_json"), "From the JSON text of torchao's config_to_dict.")
      .def_static(
          "from_user",
          [](std::string_view text) {
            return with_warnings([&](auto* w) { return TorchAOConfig::from_user(text, w); });
          },
          nb::arg("text_or_path"),
          "From a shorthand, JSON text, a file, or a whole quantization_config.")
      .def_prop_ro("torchao_config",
                   [](const TorchAOConfig& c) -> std::optional<Config> {
                     if (!c.torchao_config()) return std::nullopt;
                     return Config{c.torchao_config()};
                   })
      .def_prop_ro("skip_modules", [](const TorchAOConfig& c) { return c.skip_modules(); })
      .def_prop_ro("is_checkpoint_torchao_serialized",
                   [](const TorchAOConfig& c) { return c.is_checkpoint_torchao_serialized(); })
      .def_prop_rw("selection_mode", &TorchAOConfig::selection_mode,
                   &TorchAOConfig::set_selection_mode)
      .def_prop_rw(
          "packed_modules_mapping",
          [](const TorchAOConfig& c) { return plain_mapping(c.packed_modules_mapping()); },
          [](TorchAOConfig& c, const std::map<std::string, std::vector<std::string>>& mapping) {
            c.set_packed_modules_mapping({mapping.begin(), mapping.end()});
          },
          "Fused suffix -> suffixes of its parts, e.g. {'qkv_proj': ['q_proj', 'k_proj', "
          "'v_proj']}.")
      .def("with_skip_modules", &TorchAOConfig::with_skip_modules, nb::arg("skip_modules"),
           "The same config with further entries.")
      .def("decide", &TorchAOConfig::decide, nb::arg("prefix"),
           "Decides one linear layer by its name.")
      .def(
          "to_quantization_config",
          [](const TorchAOConfig& c) { return json_value(c.to_quantization_config_json(-1)); },
          "The quantization_config for a config.json, as transformers writes it.")
      .def("__repr__", [](const TorchAOConfig& c) {
        const std::string config = c.torchao_config() ? repr(Config{c.torchao_config()}) : "None";
        return "TorchAOConfig(" + config + ", " + std::to_string(c.skip_modules().size()) +
               " skipped modules)";
      });
}

}  // namespace

std::string json_text(nb::handle value) {
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  return nb::cast<std::string>(nb::module_::import_("json").attr("dumps")(value));
}

nb::object json_value(std::string_view text) {
  return nb::module_::import_("json").attr("loads")(nb::str(text.data(), text.size()));
}

void raise_warnings(const std::vector<ConfigWarning>& warnings) {
  for (const ConfigWarning& warning : warnings) {
    nb::module_::import_("warnings").attr("warn")(warning.message, nb::arg("stacklevel") = 2);
  }
}

ConfigPtr config_argument(nb::handle value) {
  if (Config config; nb::try_cast(value, config)) return config.config;
  std::string text;
  if (is_torchao_config(value)) {
    text = json_text(nb::module_::import_("torchao.core.config").attr("config_to_dict")(value));
  } else if (nb::isinstance<nb::dict>(value)) {
    text = json_text(value);
  } else if (nb::isinstance<nb::str>(value)) {
    text = nb::cast<std::string>(value);
    if (ConfigPtr config = config_from_shorthand(text)) return config;
    if (text.find('{') == std::string::npos) {
      throw ConfigError("'" + text + "' is no shorthand (see torchao_cpp.shorthands()) and no JSON",
                        "validation");
    }
  } else {
    throw nb::type_error(("config is a " + class_name_of(value) +
                          "; expected a shorthand, JSON text, a dict or a torchao config")
                             .c_str());
  }
  std::vector<ConfigWarning> warnings;
  ConfigPtr config = config_from_dict(text, &warnings);
  raise_warnings(warnings);
  return config;
}

TorchAOConfig quantization_argument(nb::handle value) {
  TorchAOConfig* own = nullptr;
  if (nb::try_cast(value, own) && own != nullptr) return *own;
  if (nb::isinstance<nb::str>(value)) {
    const std::string text = nb::cast<std::string>(value);
    return with_warnings([&](auto* w) { return TorchAOConfig::from_user(text, w); });
  }
  if (nb::isinstance<nb::dict>(value) && nb::borrow<nb::dict>(value).contains("quant_type")) {
    const std::string text = json_text(value);
    return with_warnings([&](auto* w) { return TorchAOConfig::from_config(text, w); });
  }
  return TorchAOConfig(config_argument(value), {}, false);
}

void bind_configs(nb::module_& m) {
  bind_config(m);
  bind_decision(m);
  bind_torchao_config(m);
}

}  // namespace torchao_cpp::python
