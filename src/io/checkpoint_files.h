// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/safetensors_file.h"

namespace torchao_cpp {

/// A tensor under the key it has in its file.
struct FlatTensor {
  const SafetensorsFile* file = nullptr;
  const SafetensorsEntry* entry = nullptr;

  Tensor tensor() const { return file->tensor(*entry); }
};

/// All safetensors files of a checkpoint, opened and checked against the index. Knows no torchao.
struct CheckpointFiles {
  /// `path`: a model folder or one file. Throws IoError or CheckpointError (st.*, index.*).
  static CheckpointFiles open(const std::filesystem::path& path);

  std::vector<std::unique_ptr<const SafetensorsFile>> files;  ///< Shards by file name.
  /// In file order: shard after shard, each in its header's order.
  std::vector<FlatTensor> tensors;
  std::unordered_map<std::string_view, FlatTensor> by_key;
  std::int64_t nbytes = 0;
  std::optional<std::uint64_t> index_total_size;
  std::vector<std::string> warnings;

 private:
  void open_folder(const std::filesystem::path& folder);
  void open_shards(const std::filesystem::path& folder);
  void add_file(const std::filesystem::path& path, std::string where);
};

}  // namespace torchao_cpp
