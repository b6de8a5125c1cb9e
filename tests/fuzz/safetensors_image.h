// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace torchao_cpp::fuzz {

/// A safetensors file from JSON text in which a mutation of a shape or an attribute keeps the rest
/// valid: a header whose tensors have no data_offsets (they are laid out here, in order) and whose
/// __metadata__ may hold JSON values in place of their texts. The data repeat `contents`. Nothing
/// for text that is no such object or tensors of more than `max_bytes`.
std::optional<std::string> safetensors_image(std::string_view json, std::string_view contents,
                                             std::size_t max_bytes);

}  // namespace torchao_cpp::fuzz
