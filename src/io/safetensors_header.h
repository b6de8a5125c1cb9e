// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/safetensors_dtype.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// One tensor of a safetensors file. begin and end are offsets into the whole file.
struct SafetensorsEntry {
  std::string name;
  const SafetensorsDType* dtype = nullptr;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// What the header of a safetensors file says, checked.
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;                         ///< In the header's order.
  std::vector<std::pair<std::string, std::string>> metadata;  ///< In the header's order.
};

/// The official reader's cap on the header's length.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

/// Reads and checks the header of the safetensors file with the contents `file`: after this every entry's range lies
/// inside the file, fits dtype and shape, and the ranges tile the data without gap or overlap.
/// Throws CheckpointError (kinds st.*); `where` names the file in messages.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where);

}  // namespace torchao_cpp
