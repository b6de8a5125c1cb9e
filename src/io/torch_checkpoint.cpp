// SPDX-License-Identifier: Apache-2.0
#include "io/torch_checkpoint.h"

#include <fmt/format.h>

#include <map>
#include <unordered_map>

#include "base/mapped_file.h"
#include "io/quoted_name.h"
#include "io/shard_index.h"
#include "io/torch_file.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

class TorchSource final : public CheckpointSource {
 public:
  explicit TorchSource(const fs::path& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      add_file(path, path.string());
    } else if (fs::exists(fs::symlink_status(path / kTorchSingleFileName, error))) {
      add_file(resolve_in_folder(path, std::string(kTorchSingleFileName)),
               (path / kTorchSingleFileName).string());
    } else {
      add_shards(path);
    }
  }

  CheckpointEntry entry(std::size_t index) const override {
    CheckpointEntry out = entries_[index].read();
    out.stored_class = entries_[index].stored_class;
    return out;
  }

 private:
  void add_file(const fs::path& path, std::string where) {
    TorchFile file(path, std::move(where));
    for (const TorchEntry& e : file.entries()) {
      const auto [first, is_new] = file_of_.emplace(e.fqn, file.where());
      if (!is_new) {
        throw CheckpointError(fmt::format("{}: holds {}, which is in '{}' too", file.where(),
                                          quoted_name(e.fqn), first->second),
                              "index.extra_tensor");
      }
      if (!e.is_listed) unlisted_.push_back(e.fqn);
      names.push_back(e.fqn);
      nbytes += e.nbytes;
      is_serialized = is_serialized || !e.is_plain;
      entries_.push_back(e);
    }
    warnings.insert(warnings.end(), file.notes().begin(), file.notes().end());
  }

  void add_shards(const fs::path& folder) {
    const std::string where = (folder / kTorchIndexFileName).string();
    const MappedFile text(resolve_in_folder(folder, std::string(kTorchIndexFileName)));
    const ShardIndex index = parse_shard_index(
        {reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size()}, where);
    index_total_size = index.total_size;
    std::map<std::string, std::string> shards;  // name -> how messages call it
    for (const auto& [key, file] : index.weight_map) shards.emplace(file, (folder / file).string());
    for (const auto& [name, shard_where] : shards)
      add_file(resolve_in_folder(folder, name), shard_where);
    check_index(index, shards, where);
  }

  void check_index(const ShardIndex& index, const std::map<std::string, std::string>& shards,
                   const std::string& where) {
    std::unordered_map<std::string, std::string> unlisted = file_of_;
    for (const auto& [key, file] : index.weight_map) {
      const auto found = file_of_.find(key);
      if (found == file_of_.end() || found->second != shards.at(file)) {
        throw CheckpointError(fmt::format("{}: {} is to be in {}, which does not hold it", where,
                                          quoted_name(key), quoted_name(file)),
                              "index.missing_tensor");
      }
      unlisted.erase(key);
    }
    for (const std::string& name : unlisted_) unlisted.erase(name);
    if (unlisted.empty()) return;
    const auto& [name, file] = *unlisted.begin();
    throw CheckpointError(fmt::format("{}: holds {}, which {} does not list", file,
                                      quoted_name(name), kTorchIndexFileName),
                          "index.extra_tensor");
  }

  std::vector<TorchEntry> entries_;
  std::unordered_map<std::string, std::string> file_of_;
  std::vector<std::string> unlisted_;  ///< What is a part of another entry.
};

}  // namespace

std::unique_ptr<const CheckpointSource> open_torch_checkpoint(const fs::path& path) {
  return std::make_unique<const TorchSource>(path);
}

}  // namespace torchao_cpp
