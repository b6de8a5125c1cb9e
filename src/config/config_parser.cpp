// SPDX-License-Identifier: Apache-2.0
#include "config/config_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "config/fqn_to_config.h"
#include "config/wire_types.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kDTypeName = "torch.dtype";

[[noreturn]] void fail(const std::string& path, const std::string& message, const char* kind) {
  throw ConfigError(path.empty() ? message : path + ": " + message, kind);
}

bool is_wire_object(const Json& value) {
  return value.is_object() && value.contains("_type") && value.contains("_data");
}

std::string shown(const Json& value) {
  constexpr std::size_t kMaxChars = 60;
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= kMaxChars ? text : text.substr(0, kMaxChars) + "...";
}

// Python's `stored == default` for JSON values: true is 1, 2.0 is 2.
bool equals_version(const Json& stored, int version) {
  if (stored.is_boolean()) return static_cast<int>(stored.get<bool>()) == version;
  return stored.is_number() && stored == version;
}

// A class that a wire object can name: a config or a nested type.
struct WireType {
  std::string_view name;
  std::span<const FieldSpec> fields;
  int version = 1;
  bool declares_version = false;
  const ConfigType* config = nullptr;  ///< Null for nested types.

  bool is_fqn() const { return config == &kFqnToConfigType; }
  const FieldSpec* find_field(std::string_view field) const {
    const auto it = std::find_if(fields.begin(), fields.end(), [&](const FieldSpec& f) { return f.name == field; });
    return it == fields.end() ? nullptr : &*it;
  }
  std::string field_names() const {
    std::string out;
    for (const FieldSpec& field : fields) out += (out.empty() ? "" : ", ") + std::string(field.name);
    return out.empty() ? "no fields" : out;
  }
};

// A value after decoding: as it is written back and, if it is a config, the object.
struct Decoded {
  Json wire;
  ConfigPtr config;
};

// The arguments of one constructor call.
struct Arguments {
  std::map<std::string, Json, std::less<>> fields;
  std::map<std::string, FqnEntries, std::less<>> maps;  ///< The fields of an FqnToConfig.
  std::optional<Json> version;                          ///< Given only where it differs from the default.
};

class Decoder {
 public:
  Decoder(std::span<const Workflow* const> workflows, std::vector<ConfigWarning>* warnings)
      : workflows_(workflows), warnings_(warnings) {}

  // config_from_dict of any wire object: dtype, enum, nested type or config.
  Decoded decode(const Json& object, const std::string& path) const;

 private:
  Json decode_dtype(const Json& data, const std::string& path) const;
  Json decode_enum(const WireEnum& type, const Json& data, const std::string& path) const;
  Decoded decode_class(const WireType& type, const Json& object, const std::string& path) const;
  Decoded decode_positional(const WireType& type, const Json& data) const;
  Json decode_field(const Json& value, const std::string& path) const;
  FqnEntries decode_map(const Json& value, const std::string& path) const;
  Arguments decode_arguments(const WireType& type, const Json& object, const std::string& path) const;
  Decoded construct(const WireType& type, Arguments arguments, const std::string& path) const;
  std::optional<WireType> find_type(std::string_view name) const;
  void warn_version(const WireType& type, const Json& stored, const std::string& path) const;

  std::span<const Workflow* const> workflows_;
  std::vector<ConfigWarning>* warnings_;
};

std::optional<WireType> Decoder::find_type(std::string_view name) const {
  if (const ConfigType* config = find_config_type(name, workflows_)) {
    return WireType{config->name, config->fields, config->version, config->declares_version, config};
  }
  if (const WireClass* nested = find_wire_class(name)) return WireType{nested->type, nested->fields, 1, false, nullptr};
  return std::nullopt;
}

void Decoder::warn_version(const WireType& type, const Json& stored, const std::string& path) const {
  if (warnings_ == nullptr) return;
  warnings_->push_back({"version_mismatch", fmt::format("{}{}{}: stored version {} is not the current version {}", path,
                                                        path.empty() ? "" : ": ", type.name, shown(stored), type.version)});
}

Decoded Decoder::decode(const Json& object, const std::string& path) const {
  const Json& name_value = object.at("_type");
  const Json& data = object.at("_data");
  if (!name_value.is_string()) fail(path, fmt::format("'_type' is {}; expected a class name", shown(name_value)), "unknown_type");
  const auto& name = name_value.get_ref<const std::string&>();
  if (name == kDTypeName) return {decode_dtype(data, path), nullptr};
  if (const WireEnum* type = find_wire_enum(name)) return {decode_enum(*type, data, path), nullptr};
  const auto type = find_type(name);
  if (!type) fail(path, fmt::format("Failed to find class {}: torchao 0.18 reads no config of that name", name), "unknown_type");
  return decode_class(*type, object, path);
}

Json Decoder::decode_dtype(const Json& data, const std::string& path) const {
  const auto name = data.is_string() ? canonical_torch_dtype(data.get_ref<const std::string&>()) : std::nullopt;
  if (!name) fail(path, fmt::format("module 'torch' has no dtype {}", shown(data)), "bad_enum_or_dtype_name");
  return Json{{"_type", std::string(kDTypeName)}, {"_data", std::string(*name)}};
}

Json Decoder::decode_enum(const WireEnum& type, const Json& data, const std::string& path) const {
  if (data.is_object()) {
    fail(path, fmt::format("Failed to create instance of {}: '_data' is an object; expected one of {}", type.type, type.names()),
         "validation");
  }
  const WireEnumMember* member = data.is_string() ? type.find_name(data.get_ref<const std::string&>()) : nullptr;
  if (member == nullptr) {
    fail(path, fmt::format("{} has no member {}; expected one of {}", type.type, shown(data), type.names()),
         "bad_enum_or_dtype_name");
  }
  return Json{{"_type", std::string(type.type)}, {"_data", std::string(member->name)}};
}

Decoded Decoder::decode_class(const WireType& type, const Json& object, const std::string& path) const {
  const Json stored = object.value("_version", Json(1));
  const bool differs = !equals_version(stored, type.version);
  if (differs) warn_version(type, stored, path);
  const Json& data = object.at("_data");
  if (!data.is_object()) return decode_positional(type, data);

  Arguments arguments = decode_arguments(type, data, path);
  if (differs && !arguments.version) arguments.version = stored;
  return construct(type, std::move(arguments), path);
}

// torchao calls the class with the value as its only argument and, where that raises, keeps the value itself.
Decoded Decoder::decode_positional(const WireType& type, const Json& data) const {
  if (type.fields.empty() || type.is_fqn()) return {data, nullptr};
  Arguments arguments;
  arguments.fields.emplace(type.fields.front().name, data);
  try {
    return construct(type, std::move(arguments), {});
  } catch (const ConfigError&) {
    return {data, nullptr};
  }
}

Json Decoder::decode_field(const Json& value, const std::string& path) const {
  if (is_wire_object(value)) return decode(value, path).wire;
  if (!value.is_structured()) return value;
  Json out = value;
  for (auto it = out.begin(); it != out.end(); ++it) {
    if (!is_wire_object(*it)) continue;
    const std::string item = value.is_array() ? fmt::format("{}[{}]", path, it - out.begin()) : fmt::format("{}['{}']", path, it.key());
    *it = decode(*it, item).wire;
  }
  return out;
}

FqnEntries Decoder::decode_map(const Json& value, const std::string& path) const {
  if (!value.is_object() || is_wire_object(value)) {
    fail(path, fmt::format("is {}; expected an object of layer names and configs", json_type_name(value)), "validation");
  }
  FqnEntries entries;
  entries.reserve(value.size());
  for (const auto& [key, item] : value.items()) {
    Decoded decoded;
    if (is_wire_object(item)) {
      decoded = decode(item, fmt::format("{}['{}']", path, key));
    } else {
      decoded.wire = item;
    }
    if (decoded.config == nullptr && !decoded.wire.is_null()) {
      fail(path, fmt::format("the entry '{}' is {}; expected a config or null", key, shown(decoded.wire)), "validation");
    }
    entries.push_back({key, std::move(decoded.wire), std::move(decoded.config)});
  }
  return entries;
}

Arguments Decoder::decode_arguments(const WireType& type, const Json& data, const std::string& path) const {
  Arguments arguments;
  for (const auto& [key, value] : data.items()) {
    const std::string field_path = fmt::format("{}{}{}.{}", path, path.empty() ? "" : " ", type.name, key);
    if (key == "version" && type.declares_version) {
      arguments.version = decode_field(value, field_path);
    } else if (type.is_fqn() && type.find_field(key) != nullptr) {
      arguments.maps[key] = decode_map(value, field_path);
    } else {
      arguments.fields[key] = decode_field(value, field_path);
    }
  }
  return arguments;
}

int checked_version(const WireType& type, const std::optional<Json>& given, const std::string& path) {
  if (!given || equals_version(*given, type.version)) return type.version;
  if (!type.declares_version) {
    fail(path, fmt::format("Failed to create instance of {}: it has no argument 'version', but the stored version is {}; expected 1",
                           type.name, shown(*given)),
         "version_not_accepted");
  }
  const bool is_integer = given->is_number_integer() && *given >= std::numeric_limits<int>::min() &&
                          *given <= std::numeric_limits<int>::max();
  if (!is_integer) {
    fail(path, fmt::format("Failed to create instance of {}: version is {}; expected an integer such as {}", type.name,
                           shown(*given), type.version),
         "version_not_accepted");
  }
  return given->get<int>();
}

void check_field_names(const WireType& type, const Arguments& arguments, const std::string& path) {
  for (const auto& [name, value] : arguments.fields) {
    if (type.find_field(name) == nullptr) {
      fail(path, fmt::format("Failed to create instance of {}: unexpected field '{}'; it has {}", type.name, name, type.field_names()),
           "unknown_field");
    }
  }
  for (const FieldSpec& field : type.fields) {
    if (field.default_json.empty() && !arguments.fields.contains(field.name)) {
      fail(path, fmt::format("Failed to create instance of {}: missing required field '{}'", type.name, field.name), "missing_field");
    }
  }
}

// Runs the class's checks; whatever they throw about the data is a ConfigError that names the class.
void run_post_init(const WireType& type, ConfigData& data, int version, const std::string& path) {
  if (type.config == nullptr || type.config->post_init == nullptr) return;
  try {
    type.config->post_init(data, version);
  } catch (const Error& e) {
    const std::string kind = e.kind().empty() ? "validation" : e.kind();
    fail(path, fmt::format("Failed to create instance of {}: {}", type.name, e.what()), kind.c_str());
  } catch (const Json::exception& e) {
    fail(path, fmt::format("Failed to create instance of {}: a field has an unexpected type ({})", type.name, e.what()),
         "validation");
  }
}

Decoded Decoder::construct(const WireType& type, Arguments arguments, const std::string& path) const {
  const int version = checked_version(type, arguments.version, path);
  check_field_names(type, arguments, path);

  auto data = std::make_unique<ConfigData>();
  std::vector<std::pair<std::string, ConfigPtr>> children;
  if (type.is_fqn()) {
    try {
      children = merge_fqn_maps(std::move(arguments.maps["fqn_to_config"]), std::move(arguments.maps["module_fqn_to_config"]),
                                *data, warnings_);
    } catch (const ConfigError& e) {
      fail(path, fmt::format("Failed to create instance of {}: {}", type.name, e.what()), e.kind().c_str());
    }
  } else {
    for (const FieldSpec& field : type.fields) {
      const auto given = arguments.fields.find(field.name);
      data->fields[std::string(field.name)] =
          given != arguments.fields.end() ? std::move(given->second) : Json::parse(field.default_json);
    }
    run_post_init(type, *data, version, path);
  }
  if (type.config == nullptr) {
    return {Json{{"_type", std::string(type.name)}, {"_version", type.version}, {"_data", std::move(data->fields)}}, nullptr};
  }
  auto config = std::make_shared<AOBaseConfig>(*type.config, version, std::move(data), std::move(children));
  Json wire = config_to_wire(*config);
  return {std::move(wire), std::move(config)};
}

}  // namespace

const ConfigType* find_config_type(std::string_view name, std::span<const Workflow* const> workflows) noexcept {
  if (is_fqn_to_config_name(name)) return &kFqnToConfigType;
  for (const Workflow* workflow : workflows) {
    for (const ConfigType* config : workflow->configs) {
      if (config->name == name) return config;
    }
  }
  return nullptr;
}

ConfigPtr config_from_wire(const Json& wire, std::span<const Workflow* const> workflows,
                           std::vector<ConfigWarning>* warnings, std::string_view where) {
  const std::string path(where);
  if (!wire.is_object()) {
    fail(path, fmt::format("Expected dictionary, got {}", json_type_name(wire)), "not_a_dict");
  }
  if (!is_wire_object(wire)) {
    fail(path, fmt::format("Input dictionary missing required '_type' or '_data' fields: got {}", shown(wire)),
         "missing_type_or_data");
  }
  Decoded decoded = Decoder(workflows, warnings).decode(wire, path);
  if (decoded.config == nullptr) {
    fail(path, fmt::format("{} is no config, but {}", shown(wire.at("_type")), shown(decoded.wire)), "validation");
  }
  return decoded.config;
}

}  // namespace torchao_cpp
