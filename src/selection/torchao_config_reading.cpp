// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>

#include "base/json.h"
#include "config/config_parser.h"
#include "selection/legacy_config.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/quantize.h"
#include "torchao_cpp/torchao_config.h"
#include "workflows/workflow_list.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kWhere = "quantization_config";

[[noreturn]] void fail(const std::string& message, const char* kind = "validation") {
  throw ConfigError(fmt::format("{}: {}", kWhere, message), kind);
}

const Json& field_or_null(const Json& object, const std::string& name) {
  static const Json null;
  const auto it = object.find(name);
  return it == object.end() ? null : *it;
}

// The torchao config of `quant_type` in today's form.
Json upgraded_quant_type(const Json& config, std::vector<ConfigWarning>* warnings) {
  const Json& quant_type = field_or_null(config, "quant_type");
  if (quant_type.is_null()) fail("quant_type must be specified");
  if (quant_type.is_string()) {
    return upgrade_string_quant_type(quant_type.get_ref<const std::string&>(), field_or_null(config, "quant_type_kwargs"), warnings);
  }
  if (!quant_type.is_object()) {
    fail(fmt::format("quant_type is {}; expected an object {{\"default\": ..}}", json_type_name(quant_type)));
  }
  if (quant_type.size() != 1 || !quant_type.contains("default")) {
    std::string keys;
    for (const auto& [key, value] : quant_type.items()) keys += fmt::format("{}'{}'", keys.empty() ? "" : ", ", key);
    fail(fmt::format("quant_type has {}; Expected only one key 'default' in quant_type dictionary",
                     keys.empty() ? "no key" : fmt::format("keys {}", keys)));
  }
  return upgrade_legacy_wire(quant_type["default"], warnings);
}

std::vector<std::string> read_skip_modules(const Json& config) {
  const Json& entries = field_or_null(config, "modules_to_not_convert");
  if (entries.is_null()) return {};
  if (!entries.is_array()) fail(fmt::format("modules_to_not_convert is {}; expected a list of names or null", json_type_name(entries)));
  std::vector<std::string> out;
  for (const Json& entry : entries) {
    if (!entry.is_string()) fail(fmt::format("modules_to_not_convert holds {}; expected names", json_type_name(entry)));
    out.push_back(entry.get<std::string>());
  }
  return out;
}

bool read_flag(const Json& config, const std::string& name) {
  const Json& flag = field_or_null(config, name);
  if (flag.is_null()) return false;
  if (!flag.is_boolean()) fail(fmt::format("{} is {}; expected true or false", name, json_type_name(flag)));
  return flag.get<bool>();
}

// The keys that vLLM adds to its skip list: null entries of module_fqn_to_config as the file has it.
std::vector<std::string> null_module_names(const Json& wire) {
  std::vector<std::string> out;
  const Json& data = wire.is_object() ? field_or_null(wire, "_data") : wire;
  const Json& map = data.is_object() ? field_or_null(data, "module_fqn_to_config") : data;
  if (!map.is_object()) return out;
  for (const auto& [key, value] : map.items()) {
    if (value.is_null()) out.push_back(key);
  }
  return out;
}

bool is_serialized(const Json& config) {
  const Json& method = field_or_null(config, "quant_method");
  return method.is_string() && method.get_ref<const std::string&>().find("torchao") != std::string::npos;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string shorthand_names() {
  std::string out;
  for (const ShorthandInfo& info : shorthand_list()) out += (out.empty() ? "" : ", ") + std::string(info.pattern);
  return out;
}

}  // namespace

TorchAOConfig TorchAOConfig::from_config(std::string_view quantization_config_json, std::vector<ConfigWarning>* warnings) {
  const Json config = parse_json(quantization_config_json, kWhere);
  if (!config.is_object()) fail(fmt::format("is {}; expected an object", json_type_name(config)), "not_a_dict");
  const Json wire = upgraded_quant_type(config, warnings);
  ConfigPtr parsed = config_from_wire(wire, workflow_list(), warnings, "quantization_config.quant_type.default");
  TorchAOConfig out(std::move(parsed), read_skip_modules(config), is_serialized(config));
  const std::vector<std::string> nulls = null_module_names(wire);
  out.skip_modules_.insert(out.skip_modules_.end(), nulls.begin(), nulls.end());
  out.include_input_output_embeddings_ = read_flag(config, "include_input_output_embeddings");
  out.untie_embedding_weights_ = read_flag(config, "untie_embedding_weights");
  return out;
}

TorchAOConfig TorchAOConfig::from_config_dict_json(std::string_view json, std::vector<ConfigWarning>* warnings) {
  Json config = Json::object();
  config["quant_type"]["default"] = parse_json(json, "config");
  return from_config(config.dump(), warnings);
}

TorchAOConfig TorchAOConfig::from_config_file(const std::filesystem::path& path, std::vector<ConfigWarning>* warnings) {
  const Json config = read_json_file(path);
  try {
    return from_config_dict_json(config.dump(), warnings);
  } catch (const ConfigError& e) {
    throw ConfigError(fmt::format("{}: {}", path.string(), e.what()), e.kind());
  }
}

namespace {

// torchao's dict, a quantization_config, or a config.json that holds one; `where` for messages.
TorchAOConfig from_any_json(const Json& json, const std::string& where, std::vector<ConfigWarning>* warnings) {
  try {
    if (json.is_object() && json.contains("quantization_config")) {
      return TorchAOConfig::from_config(json["quantization_config"].dump(), warnings);
    }
    if (json.is_object() && json.contains("quant_type")) return TorchAOConfig::from_config(json.dump(), warnings);
    if (json.is_object() && json.contains("model_type") && !json.contains("_type")) {
      throw ConfigError("has no quantization_config", "validation");
    }
    return TorchAOConfig::from_config_dict_json(json.dump(), warnings);
  } catch (const ConfigError& e) {
    if (where.empty()) throw;
    throw ConfigError(fmt::format("{}: {}", where, e.what()), e.kind());
  }
}

}  // namespace

TorchAOConfig TorchAOConfig::from_user(std::string_view text_or_path, std::vector<ConfigWarning>* warnings) {
  const std::string_view text = trimmed(text_or_path);
  if (text.empty()) throw ConfigError("the quantization is empty; expected a shorthand, a file, or JSON", "validation");
  std::optional<TorchAOConfig> out;
  if (text.front() == '{' || text.front() == '[') {
    out = from_any_json(parse_json(text, "the quantization given as JSON"), {}, warnings);
  } else if (ConfigPtr config = config_from_shorthand(text)) {
    out = TorchAOConfig(std::move(config), {}, false);
  } else {
    std::filesystem::path path(text);
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) path /= "config.json";
    if (!std::filesystem::exists(path, error)) {
      throw ConfigError(fmt::format("the quantization '{}' is no shorthand, no file and no JSON; shorthands: {}", text, shorthand_names()),
                        "validation");
    }
    out = from_any_json(read_json_file(path), path.string(), warnings);
  }
  // Whatever the text says of a checkpoint, what a person asks for is done to the weights at load.
  out->is_checkpoint_torchao_serialized_ = false;
  return *out;
}

std::string TorchAOConfig::to_quantization_config_json(int indent) const {
  if (torchao_config_ == nullptr) throw ConfigError("there is no quantization config to write", "validation");
  Json skips;
  for (const std::string& entry : explicit_skips()) skips.push_back(entry);
  Json quant_type = Json::object();
  quant_type["default"] = config_to_wire(*torchao_config_);
  const Json out{{"quant_method", "torchao"},
                 {"quant_type", std::move(quant_type)},
                 {"modules_to_not_convert", std::move(skips)},
                 {"include_input_output_embeddings", include_input_output_embeddings_},
                 {"untie_embedding_weights", untie_embedding_weights_}};
  return dump_json_python(out, indent);
}

}  // namespace torchao_cpp
