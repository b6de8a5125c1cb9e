// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_files.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "io/quoted_name.h"
#include "io/shard_index.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

bool has_name(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

std::string read_text(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

CheckpointFiles CheckpointFiles::open(const fs::path& path) {
  std::error_code error;
  CheckpointFiles result;
  if (fs::is_directory(path, error)) {
    result.open_folder(path);
  } else {
    result.add_file(path, path.string());
  }
  return result;
}

void CheckpointFiles::open_folder(const fs::path& folder) {
  const bool has_index = has_name(folder / kIndexFileName);
  if (has_name(folder / kSingleFileName)) {
    // transformers prefers the single file as well.
    if (has_index) {
      warnings.push_back(fmt::format("{}: has {} as well as {}; the index is not used", folder.string(), kSingleFileName,
                                     kIndexFileName));
    }
    add_file(resolve_in_folder(folder, std::string(kSingleFileName)), (folder / kSingleFileName).string());
  } else if (has_index) {
    open_shards(folder);
  } else {
    throw IoError(fmt::format("{}: has neither {} nor {}; expected a model folder or one .safetensors file",
                              folder.string(), kSingleFileName, kIndexFileName));
  }
}

void CheckpointFiles::open_shards(const fs::path& folder) {
  const std::string where = (folder / kIndexFileName).string();
  const ShardIndex index = parse_shard_index(read_text(resolve_in_folder(folder, std::string(kIndexFileName))), where);
  index_total_size = index.total_size;

  std::set<std::string> names;
  for (const auto& [key, file] : index.weight_map) names.insert(file);
  std::map<std::string, const SafetensorsFile*, std::less<>> by_name;
  for (const std::string& name : names) {
    add_file(resolve_in_folder(folder, name), (folder / name).string());
    by_name[name] = files.back().get();
  }

  for (const auto& [key, file] : index.weight_map) {
    if (by_name.at(file)->find(key) == nullptr) {
      throw CheckpointError(fmt::format("{}: {} is to be in {}, which does not hold it", where, quoted_name(key), quoted_name(file)),
                            "index.missing_tensor");
    }
  }
  // Each key of the index is in its shard, so equal counts mean that the shards hold nothing else.
  if (index.weight_map.size() == tensors.size()) return;
  std::set<std::string_view> listed;
  for (const auto& [key, file] : index.weight_map) listed.insert(key);
  for (const FlatTensor& t : tensors) {
    if (!listed.contains(t.entry->name)) {
      throw CheckpointError(fmt::format("{}: holds {}, which {} does not list", t.file->where(), quoted_name(t.entry->name),
                                        kIndexFileName),
                            "index.extra_tensor");
    }
  }
}

void CheckpointFiles::add_file(const fs::path& path, std::string where) {
  files.push_back(std::make_unique<const SafetensorsFile>(path, std::move(where)));
  const SafetensorsFile& file = *files.back();
  for (const SafetensorsEntry& entry : file.header().entries) {
    const auto [first, is_new] = by_key.emplace(entry.name, FlatTensor{&file, &entry});
    if (!is_new) {
      throw CheckpointError(fmt::format("{}: holds {}, which is in '{}' too", file.where(), quoted_name(entry.name),
                                        first->second.file->where()),
                            "index.extra_tensor");
    }
    tensors.push_back({&file, &entry});
    nbytes += static_cast<std::int64_t>(entry.end - entry.begin);
  }
}

}  // namespace torchao_cpp
