// SPDX-License-Identifier: Apache-2.0
#include "config/config_fields.h"

#include <fmt/format.h>

#include <limits>

#include "config/wire_types.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Enough of a value to recognise it in a message.
std::string shown(const Json& value) {
  constexpr std::size_t kMaxChars = 80;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kMaxChars) text = text.substr(0, kMaxChars) + "...";
  return text;
}

[[noreturn]] void refuse(std::string_view field, const Json& value, std::string_view expected) {
  throw ConfigError(fmt::format("field '{}' is {} ({}); expected {}", field, shown(value), json_type_name(value), expected),
                    "validation");
}

const Json& field_value(const ConfigData& data, std::string_view field) {
  const auto it = data.fields.find(std::string(field));
  if (it == data.fields.end()) {
    throw ConfigError(fmt::format("field '{}' is missing; expected a value", field), "validation");
  }
  return *it;
}

// An integer that fits int64; 128.0 is none.
std::optional<std::int64_t> to_int(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  return std::nullopt;
}

std::string_view type_of(const Json& value) {
  if (!value.is_object()) return {};
  const auto it = value.find("_type");
  return it != value.end() && it->is_string() ? std::string_view(it->get_ref<const std::string&>()) : std::string_view{};
}

const Json* data_of(const Json& value) {
  const auto it = value.find("_data");
  return it == value.end() ? nullptr : &*it;
}

template <typename E>
E get_enum(const ConfigData& data, std::string_view field, std::string_view type) {
  const Json& value = field_value(data, field);
  const WireEnum& wire = *find_wire_enum(type);
  const WireEnumMember* member = nullptr;
  if (value.is_string()) {
    member = wire.find_value(value.get_ref<const std::string&>());
  } else if (type_of(value) == type) {
    const Json* name = data_of(value);
    if (name != nullptr && name->is_string()) member = wire.find_name(name->get_ref<const std::string&>());
  }
  if (member == nullptr) refuse(field, value, fmt::format("a {} ({})", type, wire.names()));
  return static_cast<E>(member->ordinal);
}

std::int64_t granularity_int(const Json& data, std::string_view name, std::string_view field, const Json& whole) {
  const auto it = data.find(std::string(name));
  const auto number = it == data.end() ? std::nullopt : to_int(*it);
  if (!number) refuse(field, whole, fmt::format("an integer '{}'", name));
  return *number;
}

std::vector<std::int64_t> block_size_from(const Json& data, std::string_view field, const Json& whole) {
  const auto it = data.find("block_size");
  if (it == data.end() || !it->is_array()) refuse(field, whole, "a list 'block_size'");
  std::vector<std::int64_t> sizes;
  for (const Json& item : *it) {
    const auto number = to_int(item);
    if (!number) refuse(field, whole, "integers in 'block_size'");
    sizes.push_back(*number);
  }
  return sizes;
}

Json wire_object(std::string_view type, Json data) {
  return Json{{"_type", std::string(type)}, {"_version", 1}, {"_data", std::move(data)}};
}

Json one_field(const std::string& name, Json value) {
  Json data = Json::object();
  data[name] = std::move(value);
  return data;
}

struct ToJson {
  Json operator()(const PerTensor&) const { return wire_object("PerTensor", Json::object()); }
  Json operator()(const PerToken&) const { return wire_object("PerToken", Json::object()); }
  Json operator()(const PerRow& g) const { return wire_object("PerRow", one_field("dim", g.dim)); }
  Json operator()(const PerAxis& g) const { return wire_object("PerAxis", one_field("axis", g.axis)); }
  Json operator()(const PerGroup& g) const { return wire_object("PerGroup", one_field("group_size", g.group_size)); }
  Json operator()(const PerBlock& g) const { return wire_object("PerBlock", one_field("block_size", g.block_size)); }
};

}  // namespace

std::int64_t get_int(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  const auto number = to_int(value);
  if (!number) refuse(field, value, "an integer");
  return *number;
}

bool get_bool(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  if (!value.is_boolean()) refuse(field, value, "true or false");
  return value.get<bool>();
}

std::optional<std::int64_t> get_optional_int(const ConfigData& data, std::string_view field) {
  if (field_value(data, field).is_null()) return std::nullopt;
  return get_int(data, field);
}

std::optional<double> get_optional_double(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number()) refuse(field, value, "a number or null");
  return value.get<double>();
}

std::optional<std::string> get_optional_string(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  if (value.is_null()) return std::nullopt;
  if (!value.is_string()) refuse(field, value, "a string or null");
  return value.get<std::string>();
}

DType get_dtype(const ConfigData& data, std::string_view field) {
  return dtype_from_json(field_value(data, field), field);
}

std::optional<DType> get_optional_dtype(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  if (value.is_null()) return std::nullopt;
  return dtype_from_json(value, field);
}

Granularity get_granularity(const ConfigData& data, std::string_view field) {
  return granularity_from_json(field_value(data, field), field);
}

std::vector<Granularity> get_granularity_list(const ConfigData& data, std::string_view field) {
  const Json& value = field_value(data, field);
  std::vector<Granularity> out;
  if (value.is_null()) return out;
  if (!value.is_array()) return {granularity_from_json(value, field)};
  for (const Json& item : value) out.push_back(granularity_from_json(item, field));
  return out;
}

MappingType get_mapping_type(const ConfigData& data, std::string_view field) {
  return get_enum<MappingType>(data, field, "MappingType");
}
ScaleCalculationMode get_scale_calculation_mode(const ConfigData& data, std::string_view field) {
  return get_enum<ScaleCalculationMode>(data, field, "ScaleCalculationMode");
}
Int4PackingFormat get_int4_packing_format(const ConfigData& data, std::string_view field) {
  return get_enum<Int4PackingFormat>(data, field, "Int4PackingFormat");
}
Int4ChooseQParamsAlgorithm get_int4_choose_qparams_algorithm(const ConfigData& data, std::string_view field) {
  return get_enum<Int4ChooseQParamsAlgorithm>(data, field, "Int4ChooseQParamsAlgorithm");
}
IntxPackingFormat get_intx_packing_format(const ConfigData& data, std::string_view field) {
  return get_enum<IntxPackingFormat>(data, field, "IntxPackingFormat");
}
IntxChooseQParamsAlgorithm get_intx_choose_qparams_algorithm(const ConfigData& data, std::string_view field) {
  return get_enum<IntxChooseQParamsAlgorithm>(data, field, "IntxChooseQParamsAlgorithm");
}
Float8PackingFormat get_float8_packing_format(const ConfigData& data, std::string_view field) {
  return get_enum<Float8PackingFormat>(data, field, "Float8PackingFormat");
}
KernelPreference get_kernel_preference(const ConfigData& data, std::string_view field) {
  return get_enum<KernelPreference>(data, field, "KernelPreference");
}

Json granularity_to_json(const Granularity& granularity) { return std::visit(ToJson{}, granularity); }

Json dtype_to_json(DType dtype) {
  const std::string name(dtype_name(dtype));
  // torch has no such dtypes; torchao holds their names as strings.
  if (dtype == DType::kFloat6E2M3 || dtype == DType::kFloat6E3M2) return name;
  return Json{{"_type", "torch.dtype"}, {"_data", name}};
}

Json enum_to_json(std::string_view enum_type, std::string_view member) {
  return Json{{"_type", std::string(enum_type)}, {"_data", std::string(member)}};
}

Granularity granularity_from_json(const Json& value, std::string_view field) {
  const std::string_view type = type_of(value);
  const Json* data = type.empty() ? nullptr : data_of(value);
  if (data == nullptr || !data->is_object()) refuse(field, value, "a granularity such as PerRow or PerGroup");
  if (type == "PerTensor") return PerTensor{};
  if (type == "PerToken") return PerToken{};
  if (type == "PerRow") return PerRow{data->contains("dim") ? granularity_int(*data, "dim", field, value) : -1};
  if (type == "PerAxis") return PerAxis{granularity_int(*data, "axis", field, value)};
  if (type == "PerGroup") return PerGroup{granularity_int(*data, "group_size", field, value)};
  if (type == "PerBlock") return PerBlock{block_size_from(*data, field, value)};
  refuse(field, value, "PerTensor, PerToken, PerRow, PerAxis, PerGroup or PerBlock");
}

DType dtype_from_json(const Json& value, std::string_view field) {
  if (value.is_string()) {
    const auto dtype = dtype_from_name(value.get_ref<const std::string&>());
    if (dtype == DType::kFloat6E2M3 || dtype == DType::kFloat6E3M2) return *dtype;
  } else if (type_of(value) == "torch.dtype") {
    const Json* name = data_of(value);
    if (name != nullptr && name->is_string()) {
      const auto canonical = canonical_torch_dtype(name->get_ref<const std::string&>());
      const auto dtype = canonical ? dtype_from_name(*canonical) : std::nullopt;
      if (dtype) return *dtype;
    }
  }
  refuse(field, value, R"(a dtype such as {"_type": "torch.dtype", "_data": "bfloat16"})");
}

}  // namespace torchao_cpp
