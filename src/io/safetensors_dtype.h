// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// One dtype code of the safetensors format.
struct SafetensorsDType {
  std::string_view code;  ///< e.g. "BF16"
  std::uint64_t bits;     ///< Of one element.
  /// Nothing for the codes whose elements are smaller than a byte (F4, F6_*): those are handed out as raw bytes.
  std::optional<DType> dtype;
  int rank;  ///< The official writer's order: tensors of higher rank come first in a file.
};

/// Null for a code that the format does not define.
const SafetensorsDType* safetensors_dtype(std::string_view code) noexcept;

/// The code under which tensors of `dtype` are stored; null for logical types that have none (int4, fp6, ..).
const SafetensorsDType* safetensors_dtype(DType dtype) noexcept;

}  // namespace torchao_cpp
