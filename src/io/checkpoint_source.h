// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "torchao_cpp/checkpoint.h"

namespace torchao_cpp {

/// What a Checkpoint reads from: one of the forms on disk, opened and checked. Immutable; safe to
/// read from many threads.
class CheckpointSource {
 public:
  virtual ~CheckpointSource() = default;
  CheckpointSource(const CheckpointSource&) = delete;
  CheckpointSource& operator=(const CheckpointSource&) = delete;

  /// The entry of names[index].
  virtual CheckpointEntry entry(std::size_t index) const = 0;

  std::vector<std::string> names;
  std::vector<std::string> tied;  ///< Listed, but without data.
  std::vector<std::string> warnings;
  std::int64_t nbytes = 0;
  bool is_serialized = false;  ///< An entry is a tensor subclass.
  std::optional<std::uint64_t> index_total_size;

 protected:
  CheckpointSource() = default;
};

/// Opens a model folder or one file. A folder's safetensors come before its .bin files.
/// Throws IoError or CheckpointError.
std::unique_ptr<const CheckpointSource> open_checkpoint_source(const std::filesystem::path& path);

}  // namespace torchao_cpp
