// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace torchao_cpp {

/// tokenizer.json: its two long lists in the order of the file, and the rest as it is.
struct TokenizerFile {
  std::vector<std::pair<std::string, std::int32_t>> vocab;  ///< model.vocab
  std::vector<std::pair<std::string, std::string>>
      merges;  ///< model.merges, from ["a", "b"] or "a b"
  Json rest;   ///< Without those two members.

  /// Reads in linear time. Throws IoError, or CheckpointError (kind "tokenizer") for broken JSON,
  /// an id that is negative or above kLargestTokenId, a merge that is not a pair, or a file of more
  /// than 256 MiB.
  static TokenizerFile read(const std::filesystem::path& path);
};

/// Bounds the table from ids to tokens, whatever a file says. Real vocabularies are below 300 000.
constexpr std::int32_t kLargestTokenId = (1 << 24) - 1;

/// The whole file. Throws IoError, or CheckpointError (kind "tokenizer") for one larger than
/// `max_bytes`.
std::string read_small_file(const std::filesystem::path& path, std::size_t max_bytes);

}  // namespace torchao_cpp
