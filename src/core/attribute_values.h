// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "core/parts_reader.h"
#include "torchao_cpp/quant_types.h"

/// Values inside the attributes of a checkpoint entry that several weight classes share, at any
/// depth, in torchao's wire form. Readers throw as PartsReader does; `what` names the value in
/// messages. Writers give torchao 0.18's text.
namespace torchao_cpp {

/// The `_data` of {"_type": type, "_data": {..}}; throws ao.metadata_invalid for a field that is
/// not one of `fields`.
const Json& kwargs_value(const PartsReader& reader, const Json& value, std::string_view type,
                         std::string_view what, std::initializer_list<std::string_view> fields);

/// The field, or null when it is absent or JSON null.
const Json* find_value(const Json& object, std::string_view field) noexcept;

/// {"_type": "torch.dtype", ..}, or for the fp6 types, which torch does not have, their names as
/// plain strings.
DType dtype_value(const PartsReader& reader, const Json& value, std::string_view what,
                  std::initializer_list<DType> allowed);
bool boolean_value(const PartsReader& reader, const Json& value, std::string_view what);
std::int64_t integer_value(const PartsReader& reader, const Json& value, std::string_view what);
double number_value(const PartsReader& reader, const Json& value, std::string_view what);
ScaleCalculationMode scaling_mode_value(const PartsReader& reader, const Json& value,
                                        std::string_view what);
/// The member name of {"_type": "KernelPreference", ..}: a hint that is kept as it is, whatever it
/// says.
std::string kernel_preference_value(const PartsReader& reader, const Json& value,
                                    std::string_view what);

Json element_dtype_attribute(DType dtype);
Json scaling_mode_attribute(ScaleCalculationMode mode);
Json kernel_preference_attribute(const std::optional<std::string>& member);

/// "AUTO", "TORCH", "MSLK", "EMULATED", "TRITON".
std::string kernel_preference_name(KernelPreference preference);

}  // namespace torchao_cpp
