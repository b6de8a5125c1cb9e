// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <unordered_set>

#include "base/json.h"
#include "base/mapped_file.h"
#include "core/checkpoint_attributes.h"
#include "io/output_file.h"
#include "io/quoted_name.h"
#include "io/shard_index.h"
#include "io/shard_plan.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

// The folder as given, without a trailing slash and with "." and links resolved as far as it exists.
fs::path normalized(const fs::path& directory) {
  std::error_code error;
  fs::path path = fs::weakly_canonical(fs::absolute(directory), error);
  if (error) throw IoError(fmt::format("{}: {}", directory.string(), error.message()));
  return path.has_filename() ? path : path.parent_path();
}

void check_destination(const fs::path& directory) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(directory, error);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) throw IoError(fmt::format("{}: exists and is no folder", directory.string()));
  const bool is_empty = fs::is_empty(directory, error);
  if (error) throw IoError(fmt::format("{}: {}", directory.string(), error.message()));
  if (!is_empty) {
    throw IoError(fmt::format("{}: exists and is not empty; choose another folder or remove it", directory.string()));
  }
}

bool is_weight_file_name(std::string_view name) {
  return name == kSingleFileName || name == kIndexFileName ||
         (name.starts_with("model-") && name.ends_with(".safetensors"));
}

// Keys of the metadata that are no names of parameters.
constexpr std::array<std::string_view, 2> kReservedNames{"format", "tensor_names"};

[[noreturn]] void fail_name(std::string_view fqn, std::string_view message) {
  throw CheckpointError(fmt::format("{} {}", quoted_name(fqn), message), "name");
}

void check_parts(const WriterEntry& entry) {
  const TensorParts& parts = entry.parts;
  if (entry.fqn.find('.') == std::string::npos) {
    fail_name(entry.fqn, "has no dot; torchao stores a quantized weight as MODULE.NAME");
  }
  if (parts.class_name.empty() || parts.class_name == "Tensor" || parts.parts.empty()) {
    throw CheckpointError(fmt::format("weight {} has no class or no parts", quoted_name(entry.fqn)), "ao.metadata_invalid");
  }
  Json attributes;
  const auto problem = try_parse_json(parts.attributes, attributes);
  if (problem || !attributes.is_object()) {
    throw CheckpointError(fmt::format("weight {} ({}): the attributes are no JSON object", quoted_name(entry.fqn), parts.class_name),
                          "ao.metadata_invalid");
  }
  if (const auto attribute = check_attribute_types(attributes)) {
    throw CheckpointError(fmt::format("weight {} ({}): {}", quoted_name(entry.fqn), parts.class_name, attribute->message),
                          attribute->kind);
  }
  for (const auto& [name, tensor] : parts.parts) {
    if (name.empty()) fail_name(entry.fqn, "has a part without a name");
    check_storable_name(name);
    check_storable_tensor(tensor, fmt::format("{} of {}", name, entry.fqn));
  }
}

}  // namespace

struct CheckpointWriter::Impl {
  Impl(const fs::path& given, std::int64_t max_bytes) : directory(normalized(given)), max_shard_bytes(max_bytes) {
    if (max_bytes <= 0) throw Error(fmt::format("max_shard_bytes is {}; expected at least 1", max_bytes));
    check_destination(directory);
    // Left by another process of this id that was killed: take the next name.
    constexpr int kAttempts = 100;
    for (int i = 0; i < kAttempts; ++i) {
      temporary = temporary_beside(directory);
      if (::mkdir(temporary.c_str(), 0777) == 0) return;
      if (errno != EEXIST) break;
    }
    throw IoError(fmt::format("{}: no folder can be made there: {}", folder_of(directory).string(), std::strerror(errno)));
  }

  ~Impl() {
    if (is_renamed) return;
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
  }

  void check_open() const {
    if (is_renamed) throw Error(fmt::format("{}: this checkpoint is finished", directory.string()));
  }

  void add(WriterEntry entry) {
    check_open();
    check_storable_name(entry.fqn);
    for (const std::string_view reserved : kReservedNames) {
      if (entry.fqn == reserved) fail_name(entry.fqn, "is a key of torchao's metadata and cannot name a tensor");
    }
    if (!entry.is_plain()) check_parts(entry);
    if (!names.insert(entry.fqn).second) fail_name(entry.fqn, "occurs twice");
    for (const StoredTensor& t : flatten_entry(entry)) {
      if (!keys.insert(t.name).second) {
        fail_name(entry.fqn, fmt::format("is stored under the key {}, which another tensor has", quoted_name(t.name)));
      }
    }
    entries.push_back(std::move(entry));
  }

  fs::path new_file(std::string_view file_name) const {
    check_open();
    if (!is_plain_file_name(file_name)) {
      throw IoError(fmt::format("{}: is no plain file name", quoted_name(file_name)));
    }
    if (is_weight_file_name(file_name)) {
      throw IoError(fmt::format("{}: this name is taken by the weights", quoted_name(file_name)));
    }
    return temporary / file_name;
  }

  static void write_file(const fs::path& path, std::span<const std::byte> content) {
    OutputFile file(path);
    file.write(content);
    file.finish();
  }

  // torchao reads no name without a dot once a file has its metadata.
  void check_plain_names() const {
    bool is_quantized = false;
    for (const WriterEntry& e : entries) is_quantized = is_quantized || !e.is_plain();
    if (!is_quantized) return;
    for (const WriterEntry& e : entries) {
      if (e.fqn.find('.') == std::string::npos) {
        fail_name(e.fqn, "has no dot; torchao cannot read such a name beside quantized weights");
      }
    }
  }

  void write_weights(const std::function<void(std::int64_t, std::int64_t)>& progress) const {
    const std::vector<MetadataEntry> metadata = flattened_metadata(entries);
    const std::vector<PlannedShard> shards = plan_shards(entries, max_shard_bytes);
    std::int64_t total = 0;
    std::int64_t done = 0;
    for (const PlannedShard& shard : shards) {
      for (const StoredTensor& t : shard.tensors) total += t.nbytes();
    }
    const auto advance = [&](std::int64_t bytes) {
      done += bytes;
      if (progress) progress(done, total);
    };
    for (const PlannedShard& shard : shards) {
      const SafetensorsLayout layout(shard.tensors, metadata);
      OutputFile file(temporary / shard.file_name);
      layout.write(file, advance);
      file.finish();
    }
    if (shards.size() > 1) {
      const std::string index = index_json(shards, entries);
      write_file(temporary / kIndexFileName, std::as_bytes(std::span(index.data(), index.size())));
    }
  }

  void finish(const std::function<void(std::int64_t, std::int64_t)>& progress) {
    check_open();
    check_plain_names();
    write_weights(progress);
    sync_folder(temporary);
    // Replaces an empty folder, and nothing else.
    rename_path(temporary, directory);
    is_renamed = true;
    sync_folder(folder_of(directory));
  }

  fs::path directory;
  fs::path temporary;
  std::int64_t max_shard_bytes;
  std::vector<WriterEntry> entries;
  std::unordered_set<std::string> names;
  std::unordered_set<std::string> keys;
  bool is_renamed = false;
};

CheckpointWriter::CheckpointWriter(const fs::path& directory, std::int64_t max_shard_bytes)
    : impl_(std::make_unique<Impl>(directory, max_shard_bytes)) {}
CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::add(std::string fqn, Tensor plain) {
  impl_->add({fqn, StoredTensor::of(fqn, std::move(plain)), {}});
}

void CheckpointWriter::add(std::string fqn, DType dtype, Shape shape, std::function<Tensor()> values) {
  check_storable_dtype(dtype, fqn);
  impl_->add({fqn, {fqn, dtype, std::move(shape), std::move(values)}, {}});
}

void CheckpointWriter::add(std::string fqn, TensorParts parts) { impl_->add({std::move(fqn), {}, std::move(parts)}); }

void CheckpointWriter::add_file(std::string_view file_name, std::string_view content) {
  Impl::write_file(impl_->new_file(file_name), std::as_bytes(std::span(content.data(), content.size())));
}

void CheckpointWriter::copy_file(const fs::path& source) {
  const fs::path destination = impl_->new_file(source.filename().string());
  const MappedFile content(source);
  Impl::write_file(destination, content.bytes());
}

void CheckpointWriter::finish(const std::function<void(std::int64_t, std::int64_t)>& progress) { impl_->finish(progress); }

}  // namespace torchao_cpp
