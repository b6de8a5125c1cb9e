// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

#include "config/config_parser.h"
#include "torchao_cpp/quantize.h"
#include "workflows/workflow_list.h"

namespace torchao_cpp {
namespace {

constexpr auto kShorthands = std::to_array<ShorthandInfo>({
    {"int8wo", "Int8WeightOnlyConfig, one scale a row; int8wo-G: one scale a group of G"},
    {"int8dq", "Int8DynamicActivationInt8WeightConfig, per row; int8dq-tensor: per tensor; int8dq-asym: asymmetric activation"},
    {"int4wo-G", "Int4WeightOnlyConfig with group_size G, PLAIN; int4wo: G = 128; int4wo-G-hqq: HQQ, tile-packed"},
    {"intxBwo-G", "IntxWeightOnlyConfig, int1 to int8 in groups of G; intxBwo: one scale a row"},
    {"8daBw-G", "Int8DynamicActivationIntxWeightConfig, intB in groups of G; 8da4w: int4, G = 32"},
    {"fp8wo", "Float8WeightOnlyConfig, one scale a row"},
    {"fp8dq-row", "Float8DynamicActivationFloat8WeightConfig, per row; fp8dq and fp8dq-tensor: per tensor; fp8dq-block: 128x128"},
    {"fp8da4w", "Float8DynamicActivationInt4WeightConfig, plain int4 in groups of 128"},
    {"mxfp8", "MXDynamicActivationMXWeightConfig, float8_e4m3fn in blocks of 32; mxfp6: fp6_e2m3; mxfp4: float4_e2m1"},
    {"nvfp4wo", "NVFP4WeightOnlyConfig; nvfp4: NVFP4DynamicActivationNVFP4WeightConfig"},
    {"NAME", "a torchao config class with its defaults, e.g. Int8WeightOnlyConfig"},
});

// Other spellings in use: torchao's string configs and benchmarks, SGLang, diffusers.
struct Alias {
  std::string_view text;
  std::string_view shorthand;
};
constexpr auto kAliases = std::to_array<Alias>({
    {"int8_weight_only", "int8wo"},
    {"int8_dynamic_activation_int8_weight", "int8dq"},
    {"int8dq-row", "int8dq"},
    {"int8dq-per_row", "int8dq"},
    {"int8dq-per_tensor", "int8dq-tensor"},
    {"int4wo", "int4wo-128"},
    {"int4_weight_only", "int4wo-128"},
    {"int8_dynamic_activation_int4_weight", "8da4w"},
    {"float8wo", "fp8wo"},
    {"float8_weight_only", "fp8wo"},
    {"fp8dq", "fp8dq-tensor"},
    {"fp8dq-per_row", "fp8dq-row"},
    {"fp8dq-per_tensor", "fp8dq-tensor"},
    {"float8dq", "fp8dq-tensor"},
    {"float8dq-row", "fp8dq-row"},
    {"float8dq-tensor", "fp8dq-tensor"},
    {"float8_dynamic_activation_float8_weight", "fp8dq-tensor"},
});

Json typed(std::string_view type, Json data) {
  return Json{{"_type", std::string(type)}, {"_version", 1}, {"_data", std::move(data)}};
}

Json object_with(const std::string& field, Json value) {
  Json data = Json::object();
  data[field] = std::move(value);
  return data;
}

Json enum_member(std::string_view type, std::string_view member) {
  return Json{{"_type", std::string(type)}, {"_data", std::string(member)}};
}

Json dtype(std::string_view name) { return enum_member("torch.dtype", name); }
Json per_group(int size) { return typed("PerGroup", object_with("group_size", size)); }
Json per_tensor() { return typed("PerTensor", Json::object()); }

// A positive number without sign or leading zero.
std::optional<int> parse_number(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  if (!whole || number <= 0 || text.front() == '0') return std::nullopt;
  return number;
}

// A config's class name and the fields that differ from its defaults.
struct Recipe {
  std::string_view type;
  Json data = Json::object();
};

std::optional<Recipe> fixed_recipe(std::string_view text) {
  if (text == "int8wo") return Recipe{"Int8WeightOnlyConfig"};
  if (text == "int8dq") return Recipe{"Int8DynamicActivationInt8WeightConfig"};
  if (text == "int8dq-tensor") {
    return Recipe{"Int8DynamicActivationInt8WeightConfig", object_with("granularity", per_tensor())};
  }
  if (text == "int8dq-asym") {
    return Recipe{"Int8DynamicActivationInt8WeightConfig", object_with("act_mapping_type", enum_member("MappingType", "ASYMMETRIC"))};
  }
  if (text == "fp8wo") return Recipe{"Float8WeightOnlyConfig"};
  if (text == "fp8dq-tensor") {
    return Recipe{"Float8DynamicActivationFloat8WeightConfig", object_with("granularity", per_tensor())};
  }
  if (text == "fp8dq-row") {
    return Recipe{"Float8DynamicActivationFloat8WeightConfig", object_with("granularity", typed("PerRow", Json::object()))};
  }
  if (text == "fp8dq-block") {
    Json blocks = Json::array();
    blocks.push_back(typed("PerBlock", object_with("block_size", Json::array({1, 128}))));
    blocks.push_back(typed("PerBlock", object_with("block_size", Json::array({128, 128}))));
    return Recipe{"Float8DynamicActivationFloat8WeightConfig", object_with("granularity", std::move(blocks))};
  }
  if (text == "fp8da4w") {
    return Recipe{"Float8DynamicActivationInt4WeightConfig", object_with("int4_packing_format", "plain")};
  }
  if (text == "nvfp4wo") return Recipe{"NVFP4WeightOnlyConfig"};
  if (text == "nvfp4") return Recipe{"NVFP4DynamicActivationNVFP4WeightConfig"};
  return std::nullopt;
}

// EMULATED is the one MX arithmetic that runs on every device.
std::optional<Recipe> mx_recipe(std::string_view text) {
  Json element;
  if (text == "mxfp8") element = dtype("float8_e4m3fn");
  if (text == "mxfp6") element = "fp6_e2m3";
  if (text == "mxfp4") element = dtype("float4_e2m1fn_x2");
  if (element.is_null()) return std::nullopt;
  return Recipe{"MXDynamicActivationMXWeightConfig",
                Json{{"activation_dtype", element},
                     {"weight_dtype", element},
                     {"kernel_preference", enum_member("KernelPreference", "EMULATED")}}};
}

// "int8wo-G", "int4wo-G", "int4wo-G-hqq"
std::optional<Recipe> grouped_recipe(std::string_view text) {
  if (text.starts_with("int8wo-")) {
    const auto group = parse_number(text.substr(7));
    if (!group) return std::nullopt;
    return Recipe{"Int8WeightOnlyConfig", object_with("granularity", per_group(*group))};
  }
  if (!text.starts_with("int4wo-")) return std::nullopt;
  std::string_view rest = text.substr(7);
  const bool hqq = rest.ends_with("-hqq");
  if (hqq) rest.remove_suffix(4);
  const auto group = parse_number(rest);
  if (!group) return std::nullopt;
  Json data = object_with("group_size", *group);
  if (hqq) {
    data["int4_packing_format"] = enum_member("Int4PackingFormat", "TILE_PACKED_TO_4D");
    data["int4_choose_qparams_algorithm"] = enum_member("Int4ChooseQParamsAlgorithm", "HQQ");
  }
  return Recipe{"Int4WeightOnlyConfig", std::move(data)};
}

// PREFIX B SUFFIX, optionally -G: B in 1..8.
struct BitsAndGroup {
  int bits = 0;
  std::optional<int> group;
};
std::optional<BitsAndGroup> parse_bits_and_group(std::string_view text, std::string_view prefix, std::string_view suffix) {
  if (!text.starts_with(prefix) || text.size() <= prefix.size()) return std::nullopt;
  text.remove_prefix(prefix.size());
  BitsAndGroup out;
  out.bits = text.front() - '0';
  text.remove_prefix(1);
  if (out.bits < 1 || out.bits > 8 || !text.starts_with(suffix)) return std::nullopt;
  text.remove_prefix(suffix.size());
  if (text.empty()) return out;
  if (text.front() == '-') out.group = parse_number(text.substr(1));
  return out.group ? std::optional(out) : std::nullopt;
}

std::optional<Recipe> intx_recipe(std::string_view text) {
  if (const auto parsed = parse_bits_and_group(text, "intx", "wo")) {
    Json data = object_with("weight_dtype", dtype(fmt::format("int{}", parsed->bits)));
    if (parsed->group) data["granularity"] = per_group(*parsed->group);
    return Recipe{"IntxWeightOnlyConfig", std::move(data)};
  }
  if (const auto parsed = parse_bits_and_group(text, "8da", "w")) {
    Json data = object_with("weight_dtype", dtype(fmt::format("int{}", parsed->bits)));
    if (parsed->group) data["weight_granularity"] = per_group(*parsed->group);
    return Recipe{"Int8DynamicActivationIntxWeightConfig", std::move(data)};
  }
  return std::nullopt;
}

// A class name whose fields all have defaults.
std::optional<Recipe> class_recipe(std::string_view text) {
  for (const Workflow* workflow : workflow_list()) {
    for (const ConfigType* type : workflow->configs) {
      const auto has_default = [](const FieldSpec& field) { return !field.default_json.empty(); };
      if (type->name == text && std::all_of(type->fields.begin(), type->fields.end(), has_default)) return Recipe{type->name};
    }
  }
  return std::nullopt;
}

std::optional<Recipe> find_recipe(std::string_view text) {
  for (const auto make : {&fixed_recipe, &mx_recipe, &grouped_recipe, &intx_recipe, &class_recipe}) {
    if (auto recipe = make(text)) return recipe;
  }
  return std::nullopt;
}

}  // namespace

ConfigPtr config_from_shorthand(std::string_view text) {
  for (const Alias& alias : kAliases) {
    if (alias.text == text) text = alias.shorthand;
  }
  std::optional<Recipe> recipe = find_recipe(text);
  if (!recipe) return nullptr;
  const ConfigType* type = find_config_type(recipe->type, workflow_list());
  if (type == nullptr) return nullptr;
  const Json wire{{"_type", std::string(type->name)}, {"_version", type->version}, {"_data", std::move(recipe->data)}};
  return config_from_wire(wire, workflow_list());
}

std::span<const ShorthandInfo> shorthand_list() noexcept { return kShorthands; }

}  // namespace torchao_cpp
