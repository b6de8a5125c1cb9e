// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config_type.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quant_types.h"

namespace torchao_cpp {

/// Typed reads of one field of a config. torchao does not check field types when it reads a config; these do, when the
/// field is used, and throw ConfigError (kind "validation") that names the field, what it holds and what is expected.
std::int64_t get_int(const ConfigData& data, std::string_view field);
bool get_bool(const ConfigData& data, std::string_view field);
std::optional<std::int64_t> get_optional_int(const ConfigData& data, std::string_view field);
std::optional<double> get_optional_double(const ConfigData& data, std::string_view field);
std::optional<std::string> get_optional_string(const ConfigData& data, std::string_view field);
DType get_dtype(const ConfigData& data, std::string_view field);
std::optional<DType> get_optional_dtype(const ConfigData& data, std::string_view field);
Granularity get_granularity(const ConfigData& data, std::string_view field);
/// Null -> empty; one granularity -> one element; a list -> its elements.
std::vector<Granularity> get_granularity_list(const ConfigData& data, std::string_view field);

/// Enums: the object spelling {"_type": .., "_data": "NAME"} and, for torchao's string enums, the plain value ("plain").
MappingType get_mapping_type(const ConfigData& data, std::string_view field);
ScaleCalculationMode get_scale_calculation_mode(const ConfigData& data, std::string_view field);
Int4PackingFormat get_int4_packing_format(const ConfigData& data, std::string_view field);
Int4ChooseQParamsAlgorithm get_int4_choose_qparams_algorithm(const ConfigData& data, std::string_view field);
IntxPackingFormat get_intx_packing_format(const ConfigData& data, std::string_view field);
IntxChooseQParamsAlgorithm get_intx_choose_qparams_algorithm(const ConfigData& data, std::string_view field);
Float8PackingFormat get_float8_packing_format(const ConfigData& data, std::string_view field);
KernelPreference get_kernel_preference(const ConfigData& data, std::string_view field);

/// Wire form of values that a post_init fills in.
Json granularity_to_json(const Granularity& granularity);
Json dtype_to_json(DType dtype);
/// {"_type": enum_type, "_data": member}
Json enum_to_json(std::string_view enum_type, std::string_view member);

/// Wire form -> granularity; throws ConfigError (validation) that names `field`. Also used for checkpoint attributes.
Granularity granularity_from_json(const Json& value, std::string_view field);
DType dtype_from_json(const Json& value, std::string_view field);

}  // namespace torchao_cpp
