// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace torchao_cpp {

inline constexpr std::string_view kSingleFileName = "model.safetensors";
inline constexpr std::string_view kIndexFileName = "model.safetensors.index.json";
inline constexpr std::string_view kTorchSingleFileName = "pytorch_model.bin";
inline constexpr std::string_view kTorchIndexFileName = "pytorch_model.bin.index.json";

/// model.safetensors.index.json or pytorch_model.bin.index.json, checked by itself.
struct ShardIndex {
  std::vector<std::pair<std::string, std::string>> weight_map;  ///< Key to plain file name, in file order.
  std::optional<std::uint64_t> total_size;                      ///< metadata.total_size; informative only.
};

/// Parses the text of an index. Throws CheckpointError: index.invalid (no object with a weight_map of strings, duplicate
/// keys) or index.bad_path (a name that is no plain file name). `where` names the file in messages.
ShardIndex parse_shard_index(std::string_view text, std::string_view where);

/// True for a name without '/', '\' and NUL that is not empty, "." or "..".
bool is_plain_file_name(std::string_view name) noexcept;

/// The real path of the regular file `name` (plain) in `folder`. Symbolic links may lead to files below the folder, or
/// into the `../../blobs` of a Hugging Face hub cache; anything else throws CheckpointError index.bad_path.
/// Throws CheckpointError index.missing_shard when there is no such regular file.
std::filesystem::path resolve_in_folder(const std::filesystem::path& folder, const std::string& name);

}  // namespace torchao_cpp
