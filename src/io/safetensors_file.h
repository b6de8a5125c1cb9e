// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/mapped_file.h"
#include "io/safetensors_header.h"

namespace torchao_cpp {

/// A mapped and checked safetensors file. Immutable; safe to read from many threads.
class SafetensorsFile {
 public:
  /// `where` names the file in messages. Throws IoError, or CheckpointError (kinds st.*).
  SafetensorsFile(const std::filesystem::path& path, std::string where);

  const std::string& where() const noexcept { return where_; }
  const SafetensorsHeader& header() const noexcept { return header_; }
  /// Null when there is none of that name.
  const SafetensorsEntry* find(std::string_view name) const noexcept;
  /// The entry's data, borrowed from the mapping, which it keeps alive; copied where the file does not align them to the
  /// element size. Codes smaller than a byte (F4, F6_*) come as uint8 [bytes]. `entry` must be one of this file.
  Tensor tensor(const SafetensorsEntry& entry) const;

 private:
  std::string where_;
  std::shared_ptr<const MappedFile> mapping_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, const SafetensorsEntry*> by_name_;
};

}  // namespace torchao_cpp
