// SPDX-License-Identifier: Apache-2.0
#include "io/checkpoint_source.h"

#include <fmt/format.h>

#include "io/checkpoint_files.h"
#include "io/flattened_form.h"
#include "io/shard_index.h"
#include "io/torch_checkpoint.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

class SafetensorsSource final : public CheckpointSource {
 public:
  explicit SafetensorsSource(const fs::path& path)
      : files_(CheckpointFiles::open(path)), form_(assemble_flattened_form(files_)) {
    for (const FlattenedEntry& e : form_.entries) {
      names.push_back(e.fqn);
      is_serialized = is_serialized || !e.is_plain();
    }
    tied = form_.tied;
    warnings = files_.warnings;
    warnings.insert(warnings.end(), form_.warnings.begin(), form_.warnings.end());
    nbytes = files_.nbytes;
    index_total_size = files_.index_total_size;
  }

  CheckpointEntry entry(std::size_t index) const override {
    const FlattenedEntry& flattened = form_.entries[index];
    CheckpointEntry out;
    out.fqn = flattened.fqn;
    if (flattened.is_plain()) {
      out.plain = flattened.parts.front().second.tensor();
      return out;
    }
    out.stored_class = flattened.class_name;
    TensorParts& parts = out.parts.emplace();
    parts.class_name = flattened.class_name;
    parts.attributes = flattened.attributes;
    for (const auto& [name, flat] : flattened.parts) parts.parts.emplace_back(name, flat.tensor());
    return out;
  }

 private:
  CheckpointFiles files_;
  FlattenedForm form_;
};

bool is_torch_file_name(const fs::path& path) {
  const std::string extension = path.extension().string();
  return extension == ".bin" || extension == ".pt" || extension == ".pth";
}

bool has_any(const fs::path& folder, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    std::error_code error;
    if (fs::exists(fs::symlink_status(folder / name, error))) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<const CheckpointSource> open_checkpoint_source(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw IoError(fmt::format("{}: {}", path.string(),
                              error ? error.message() : "No such file or directory"));
  }
  bool is_torch = is_torch_file_name(path);
  if (fs::is_directory(status)) {
    const bool has_safetensors = has_any(path, {kSingleFileName, kIndexFileName});
    is_torch = !has_safetensors && has_any(path, {kTorchSingleFileName, kTorchIndexFileName});
    if (!has_safetensors && !is_torch) {
      throw IoError(
          fmt::format("{}: has none of {}, {}, {} and {}; expected a model folder or one "
                      ".safetensors or .bin file",
                      path.string(), kSingleFileName, kIndexFileName, kTorchSingleFileName,
                      kTorchIndexFileName));
    }
  }
  if (is_torch) return open_torch_checkpoint(path);
  return std::make_unique<const SafetensorsSource>(path);
}

}  // namespace torchao_cpp
