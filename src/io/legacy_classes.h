// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "io/legacy_weight.h"

namespace torchao_cpp {

/// A class of .bin files, of weights or of what is in one, that reading makes another class of,
/// under one of the modules that it was in: one row of the list that reading and `torchao weights`
/// go by. Source: the wheels of torchao 0.7 to 0.18.
struct LegacyClass {
  std::string_view module;
  std::string_view name;
  std::string_view versions;  ///< Of torchao that wrote it under this module.
  /// Classes of today, or "Tensor", that reading makes of it; padded with "".
  std::array<std::string_view, 2> becomes{};
  /// Reads a tensor_impl of AffineQuantizedTensor; null for other classes.
  TorchEntry (*read_impl)(const TorchObject& impl, AffineWeight weight,
                          LegacyContext& context) = nullptr;
  std::string_view adds{};         ///< What a wrapper adds to the weight in it.
  std::string_view unsupported{};  ///< Why it is not read.
};

std::span<const LegacyClass> legacy_classes() noexcept;

/// The tensor_impl of that name; null when there is none that is read.
const LegacyClass* find_legacy_impl(std::string_view name) noexcept;

/// Why a class of torchao <= 0.16 is recognised but not read; empty for all other names.
std::string_view unsupported_legacy_class(std::string_view module, std::string_view name) noexcept;

}  // namespace torchao_cpp
