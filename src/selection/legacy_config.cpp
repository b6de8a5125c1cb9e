// SPDX-License-Identifier: Apache-2.0
#include "selection/legacy_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "selection/legacy_configs.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {
namespace {

bool is_wire_object(const Json& value) {
  return value.is_object() && value.contains("_type") && value.contains("_data") && value["_type"].is_string();
}

// The version as an int; nullopt for what no torchao wrote, which the parser then refuses.
std::optional<int> stored_version(const Json& wire) {
  const auto it = wire.find("_version");
  if (it == wire.end()) return 1;
  if (!it->is_number_integer()) return std::nullopt;
  const auto version = it->get<std::int64_t>();
  return version >= 0 && version < 1000 ? std::optional(static_cast<int>(version)) : std::nullopt;
}

Json upgrade_value(const Json& value, std::vector<ConfigWarning>* warnings);

// torchao 0.13 to 0.15 called MSLK by its former name.
Json upgrade_kernel_preference(const Json& value, std::vector<ConfigWarning>* warnings) {
  const bool is_member = is_wire_object(value) && value["_type"] == "KernelPreference" && value["_data"] == "FBGEMM";
  if (!is_member && value != "fbgemm") return value;
  if (warnings != nullptr) {
    warnings->push_back({"legacy_config", "KernelPreference.FBGEMM (written by torchao 0.13 to 0.15) is called MSLK today"});
  }
  return is_member ? Json{{"_type", "KernelPreference"}, {"_data", "MSLK"}} : Json("mslk");
}

Json upgrade_fields(const Json& data, std::vector<ConfigWarning>* warnings) {
  Json out = Json::object();
  for (const auto& [name, value] : data.items()) {
    out[name] = name == "kernel_preference" ? upgrade_kernel_preference(value, warnings) : upgrade_value(value, warnings);
  }
  return out;
}

Json upgrade_object(const Json& wire, std::vector<ConfigWarning>* warnings) {
  const std::optional<int> version = stored_version(wire);
  LegacyConfig config;
  config.type = wire["_type"].get<std::string>();
  if (!wire["_data"].is_object() || !version) {
    // Still says who wrote a class that is gone.
    const auto hint = removed_config_hint(config.type);
    if (!hint.empty()) throw ConfigError(fmt::format("{}: {}", config.type, hint), "legacy_config");
    return wire;
  }
  config.version = *version;
  config.data = upgrade_fields(wire["_data"], warnings);
  upgrade_config_object(config);
  if (config.note.empty()) {
    Json out = wire;
    out["_data"] = std::move(config.data);
    return out;
  }
  if (warnings != nullptr) warnings->push_back({"legacy_config", fmt::format("{}: {}", wire["_type"].get<std::string>(), config.note)});
  return Json{{"_type", config.type}, {"_version", config.version}, {"_data", std::move(config.data)}};
}

// Arrays and fqn maps hold configs one level down, as torchao reads them.
Json upgrade_value(const Json& value, std::vector<ConfigWarning>* warnings) {
  if (is_wire_object(value)) return upgrade_object(value, warnings);
  if (!value.is_structured()) return value;
  Json out = value;
  for (Json& item : out) {
    if (is_wire_object(item)) item = upgrade_object(item, warnings);
  }
  return out;
}

struct StringType {
  std::string_view name;
  std::string_view config;
};
constexpr auto kStringTypes = std::to_array<StringType>({
    {"int4_weight_only", "Int4WeightOnlyConfig"},
    {"int8_weight_only", "Int8WeightOnlyConfig"},
    {"int8_dynamic_activation_int8_weight", "Int8DynamicActivationInt8WeightConfig"},
    {"int8_dynamic_activation_int4_weight", "Int8DynamicActivationInt4WeightConfig"},
    {"float8_weight_only", "Float8WeightOnlyConfig"},
    {"float8_dynamic_activation_float8_weight", "Float8DynamicActivationFloat8WeightConfig"},
});

// [ClassName, {fields}] of a layout among the keyword arguments -> the three keys.
Json kwarg_to_wire(const Json& value) {
  const bool is_pair = value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_object();
  if (!is_pair) return value;
  return Json{{"_type", value[0]}, {"_version", 1}, {"_data", value[1]}};
}

}  // namespace

Json upgrade_legacy_wire(const Json& wire, std::vector<ConfigWarning>* warnings) { return upgrade_value(wire, warnings); }

Json upgrade_string_quant_type(std::string_view quant_type, const Json& kwargs, std::vector<ConfigWarning>* warnings) {
  const auto it = std::find_if(kStringTypes.begin(), kStringTypes.end(), [&](const StringType& t) { return t.name == quant_type; });
  if (it == kStringTypes.end()) {
    throw ConfigError(fmt::format("quantization_config: quant_type is \"{}\", a string of transformers <= 4.5x; expected an object "
                                  "{{\"default\": ..}} or int4_weight_only, int8_weight_only, int8_dynamic_activation_int8_weight, "
                                  "int8_dynamic_activation_int4_weight, float8_weight_only, float8_dynamic_activation_float8_weight",
                                  quant_type),
                      "legacy_config");
  }
  if (!kwargs.is_null() && !kwargs.is_object()) {
    throw ConfigError(fmt::format("quantization_config: quant_type_kwargs is {}; expected an object", json_type_name(kwargs)), "validation");
  }
  Json data = Json::object();
  if (kwargs.is_object()) {
    for (const auto& [name, value] : kwargs.items()) data[name] = kwarg_to_wire(value);
  }
  if (warnings != nullptr) {
    warnings->push_back({"legacy_config", fmt::format("quant_type \"{}\" (written by transformers <= 4.5x) became {}", quant_type, it->config)});
  }
  const Json wire{{"_type", std::string(it->config)}, {"_version", 1}, {"_data", std::move(data)}};
  return upgrade_legacy_wire(wire, warnings);
}

std::string upgrade_legacy_config(std::string_view config_json, std::vector<ConfigWarning>* warnings) {
  const Json wire = parse_json(config_json, "config");
  const Json upgraded = upgrade_legacy_wire(wire, warnings);
  return upgraded == wire ? std::string(config_json) : dump_json_python(upgraded);
}

}  // namespace torchao_cpp
