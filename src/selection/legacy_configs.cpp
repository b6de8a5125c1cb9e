// SPDX-License-Identifier: Apache-2.0
#include "selection/legacy_configs.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

[[noreturn]] void fail(const LegacyConfig& config, const std::string& message) {
  throw ConfigError(fmt::format("{}: {}", config.type, message), "legacy_config");
}

void note(LegacyConfig& config, std::string_view text) {
  if (!config.note.empty()) config.note += "; ";
  config.note += text;
}

Json wire(std::string_view type, Json data) {
  return Json{{"_type", std::string(type)}, {"_version", 1}, {"_data", std::move(data)}};
}

Json member(std::string_view type, std::string_view name) {
  return Json{{"_type", std::string(type)}, {"_data", std::string(name)}};
}

Json with_field(const std::string& name, Json value) {
  Json data = Json::object();
  data[name] = std::move(value);
  return data;
}

std::string string_at(const Json& object, const std::string& key) {
  const auto it = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
}

// Takes a field out of `_data`; null when it is absent.
Json take(Json& data, const std::string& name) {
  const auto it = data.find(name);
  if (it == data.end()) return nullptr;
  Json value = std::move(*it);
  data.erase(it);
  return value;
}

bool has_any(const Json& data, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return data.contains(name); });
}

// "PLAIN" of {"_type": "PackingFormat", "_data": "PLAIN"} and of the plain spelling "plain".
std::string member_name(const Json& value) {
  std::string name = value.is_string() ? value.get<std::string>() : string_at(value, "_data");
  std::transform(name.begin(), name.end(), name.begin(), [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
  return name;
}

// Drops `layout`, which says how a kernel of that time stored the codes, if it is one of those that leave them plain.
void drop_layout(LegacyConfig& config, std::initializer_list<std::string_view> plain) {
  if (!config.data.contains("layout")) return;
  const Json layout = take(config.data, "layout");
  const std::string name = string_at(layout, "_type");
  if (!layout.is_null() && std::find(plain.begin(), plain.end(), name) == plain.end()) {
    fail(config, fmt::format("the layout '{}' was written by torchao <= 0.17 and has no equivalent today", name));
  }
  note(config, name.empty() ? "dropped the layout" : fmt::format("dropped the layout {}", name));
}

// `packing_format` of torchao 0.13 is today's `field`; of the enum `type`.
void rename_packing_format(LegacyConfig& config, const std::string& field, std::string_view type,
                           std::initializer_list<std::string_view> known) {
  for (const char* old_name : {"packing_format", field.c_str()}) {
    if (!config.data.contains(old_name)) continue;
    const std::string name = member_name(config.data[old_name]);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      // Under today's name, what no torchao wrote is left to the parser.
      if (field == old_name && name != "MARLIN_SPARSE" && name != "OPAQUE") continue;
      fail(config, fmt::format("the packing format '{}' was written by torchao 0.13 to 0.15 and has no equivalent today", name));
    }
    if (field == old_name) continue;
    config.data.erase(old_name);
    config.data[field] = member(type, name);
    note(config, fmt::format("packing_format is called {} today (written by torchao 0.13)", field));
  }
}

void set_version(LegacyConfig& config, int version, std::string_view written_by) {
  if (config.version == version) return;
  note(config, fmt::format("version {} (written by torchao {}) became version {}", config.version, written_by, version));
  config.version = version;
}

void upgrade_int4_weight_only(LegacyConfig& config) {
  Json& data = config.data;
  const bool has_old_fields = has_any(data, {"layout", "use_hqq", "zero_point_domain", "preserve_zero", "packing_format"});
  const bool means_version_1 = config.version == 1 && (has_old_fields || !data.contains("int4_packing_format"));
  if (!means_version_1) {
    if (has_old_fields) note(config, "dropped fields that only version 1 used (written by torchao 0.13 to 0.15)");
    for (const char* name : {"layout", "use_hqq", "zero_point_domain", "preserve_zero"}) take(data, name);
    return rename_packing_format(config, "int4_packing_format", "Int4PackingFormat",
                                 {"PLAIN", "PRESHUFFLED", "PLAIN_INT32", "TILE_PACKED_TO_4D"});
  }
  // Version 1 was tinygemm: asymmetric, float zero points; today's TILE_PACKED_TO_4D.
  for (const char* name : {"packing_format", "int4_packing_format", "int4_choose_qparams_algorithm"}) take(data, name);
  drop_layout(config, {"TensorCoreTiledLayout", "Int4CPULayout"});
  const std::string domain = member_name(take(data, "zero_point_domain"));
  if (domain == "INT") fail(config, "zero_point_domain INT was written by torchao <= 0.15 and has no equivalent today");
  const Json preserve_zero = take(data, "preserve_zero");
  if (preserve_zero == true) fail(config, "preserve_zero true was written by torchao <= 0.15 and has no equivalent today");
  const bool hqq = take(data, "use_hqq") == true;
  data["int4_packing_format"] = member("Int4PackingFormat", "TILE_PACKED_TO_4D");
  data["int4_choose_qparams_algorithm"] = member("Int4ChooseQParamsAlgorithm", hqq ? "HQQ" : "TINYGEMM");
  set_version(config, 2, "<= 0.15");
}

void upgrade_int8_weight_only(LegacyConfig& config) {
  if (config.version != 1) return;
  const Json group_size = take(config.data, "group_size");
  take(config.data, "granularity");  // torchao 0.15 to 0.17 wrote it, version 1 did not use it
  config.data["granularity"] =
      group_size.is_null() ? wire("PerRow", Json::object()) : wire("PerGroup", with_field("group_size", group_size));
  set_version(config, 2, "<= 0.17");
}

void upgrade_int8_dynamic(LegacyConfig& config) {
  drop_layout(config, {"PlainLayout"});
  if (config.version != 1) return;
  if (config.data.contains("weight_only_decode") && config.data["weight_only_decode"] == true) {
    fail(config, "weight_only_decode true was written by torchao <= 0.17 and means nothing today; use Int8WeightOnlyConfig");
  }
  take(config.data, "granularity");  // version 1 quantized per row whatever it said
  set_version(config, 2, "<= 0.17");
}

void upgrade_intx(LegacyConfig& config) {
  drop_layout(config, {"QDQLayout", "PlainLayout"});
  rename_packing_format(config, "intx_packing_format", "IntxPackingFormat",
                        {"UNPACKED_TO_INT8", "OPAQUE_ATEN_KLEIDIAI", "OPAQUE_TORCHAO_AUTO", "OPAQUE_TORCHAO_KLEIDIAI",
                         "OPAQUE_TORCHAO_LOWBIT"});
  if (config.version == 1) set_version(config, 2, "<= 0.15");
}

void upgrade_float8(LegacyConfig& config) {
  if (config.version == 1) set_version(config, 2, "<= 0.15");
}

void upgrade_float8_static(LegacyConfig& config) {
  if (!config.data.contains("scale")) return;
  const Json scale = take(config.data, "scale");
  config.data["act_quant_scale"] = scale;
  note(config, "scale is called act_quant_scale today (written by torchao <= 0.15)");
}

void upgrade_float8_int4(LegacyConfig& config) {
  if (config.data.contains("group_size")) {
    if (take(config.data, "group_size") != 128) fail(config, "a group_size other than 128 has no equivalent today");
    note(config, "dropped group_size, which is always 128");
  }
  if (!config.data.contains("packing_format")) return;
  rename_packing_format(config, "int4_packing_format", "Int4PackingFormat", {"PLAIN", "PRESHUFFLED"});
}

// Today's class for the removed Int8DynamicActivationInt4WeightConfig.
void replace_8da4w(LegacyConfig& config) {
  drop_layout(config, {"PlainLayout", "QDQLayout", "Int8DynamicActInt4WeightCPULayout"});
  Json data = Json::object();
  data["weight_dtype"] = member("torch.dtype", "int4");
  const bool has_group_size = config.data.contains("group_size");
  const Json group_size = take(config.data, "group_size");
  data["weight_granularity"] = wire("PerGroup", with_field("group_size", has_group_size ? group_size : Json(32)));
  for (const auto& [from, to] : {std::pair("mapping_type", "weight_mapping_type"), {"act_mapping_type", "act_mapping_type"}}) {
    if (config.data.contains(from)) data[to] = take(config.data, from);
  }
  take(config.data, "set_inductor_config");
  if (!config.data.empty()) fail(config, fmt::format("unexpected field '{}'", config.data.begin().key()));
  config.type = "Int8DynamicActivationIntxWeightConfig";
  config.version = 2;
  config.data = std::move(data);
  note(config, "Int8DynamicActivationInt4WeightConfig (written by torchao <= 0.16) became Int8DynamicActivationIntxWeightConfig with int4");
}

void replace_gemlite(LegacyConfig& config) {
  const Json mode = take(config.data, "mode");
  const bool dynamic = mode == "dynamic";
  if (!mode.is_null() && mode != "weight_only" && !dynamic) fail(config, fmt::format("mode is {}; expected \"weight_only\" or \"dynamic\"", mode.dump()));
  config.type = dynamic ? "Int8DynamicActivationUIntxWeightConfig" : "UIntxWeightOnlyConfig";
  config.version = 1;
  note(config, fmt::format("GemliteUIntXWeightOnlyConfig (written by torchao <= 0.16) became {}", config.type));
}

void replace_float8_semi_sparse(LegacyConfig& config) {
  drop_layout(config, {"CutlassSemiSparseLayout"});
  if (!config.data.contains("activation_dtype")) config.data["activation_dtype"] = member("torch.dtype", "float8_e5m2");
  config.data["granularity"] = wire("PerRow", Json::object());
  config.data["packing_format"] = member("Float8PackingFormat", "SPARSE_2D_DATA_2D_METADATA");
  config.type = "Float8DynamicActivationFloat8WeightConfig";
  config.version = 2;
  note(config, "Float8DynamicActivationFloat8SemiSparseWeightConfig (written by torchao <= 0.16) became Float8DynamicActivationFloat8WeightConfig "
               "with SPARSE_2D packing");
}

struct Upgrade {
  std::string_view type;
  void (*run)(LegacyConfig& config);
};
constexpr auto kUpgrades = std::to_array<Upgrade>({
    {"Int4WeightOnlyConfig", &upgrade_int4_weight_only},
    {"Int8WeightOnlyConfig", &upgrade_int8_weight_only},
    {"Int8DynamicActivationInt8WeightConfig", &upgrade_int8_dynamic},
    {"Int8DynamicActivationIntxWeightConfig", &upgrade_intx},
    {"IntxWeightOnlyConfig", &upgrade_intx},
    {"Float8WeightOnlyConfig", &upgrade_float8},
    {"Float8DynamicActivationFloat8WeightConfig", &upgrade_float8},
    {"Float8StaticActivationFloat8WeightConfig", &upgrade_float8_static},
    {"Float8DynamicActivationInt4WeightConfig", &upgrade_float8_int4},
    {"Int8DynamicActivationInt4WeightConfig", &replace_8da4w},
    {"GemliteUIntXWeightOnlyConfig", &replace_gemlite},
    {"Float8DynamicActivationFloat8SemiSparseWeightConfig", &replace_float8_semi_sparse},
});

struct Removed {
  std::string_view type;
  std::string_view hint;
};
constexpr auto kRemoved = std::to_array<Removed>({
    {"UIntXWeightOnlyConfig", "written by torchao <= 0.16; today's IntxWeightOnlyConfig is signed, so nothing is equivalent"},
    {"FPXWeightOnlyConfig", "written by torchao <= 0.15; nothing replaces it"},
    {"Int4DynamicActivationInt4WeightConfig", "written by torchao <= 0.15; nothing replaces it"},
    {"FbgemmConfig", "written by torchao <= 0.13; use a Float8 or Int4 config"},
    {"MXFPInferenceConfig", "written by torchao <= 0.14; use MXDynamicActivationMXWeightConfig, whose scaling mode and kernels are named otherwise"},
    {"NVFP4InferenceConfig", "written by torchao <= 0.14; use NVFP4WeightOnlyConfig or NVFP4DynamicActivationNVFP4WeightConfig"},
});

}  // namespace

std::string_view removed_config_hint(std::string_view type) noexcept {
  const auto it = std::find_if(kRemoved.begin(), kRemoved.end(), [&](const Removed& r) { return r.type == type; });
  return it == kRemoved.end() ? std::string_view{} : it->hint;
}

void upgrade_config_object(LegacyConfig& config) {
  if (const auto hint = removed_config_hint(config.type); !hint.empty()) fail(config, std::string(hint));
  const auto it = std::find_if(kUpgrades.begin(), kUpgrades.end(), [&](const Upgrade& u) { return u.type == config.type; });
  if (it != kUpgrades.end()) it->run(config);
  if (config.data.contains("layout")) drop_layout(config, {});
}

}  // namespace torchao_cpp
