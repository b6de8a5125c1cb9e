// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/json.h"
#include "io/quoted_name.h"
#include "io/safetensors_dtype.h"
#include "io/safetensors_header.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::size_t kDataAlignment = 8;

// JSON text of a string as the official writer spells it: UTF-8 stays as it is.
std::string json_string(const std::string& text, std::string_view what) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    throw CheckpointError(fmt::format("{} {} is not valid UTF-8", what, quoted_name(text)), "name");
  }
}

std::vector<const StoredTensor*> sorted_for_file(std::span<const StoredTensor> tensors) {
  std::vector<const StoredTensor*> sorted;
  std::unordered_set<std::string_view> names;
  for (const StoredTensor& t : tensors) {
    check_storable_name(t.name);
    check_storable_dtype(t.dtype, t.name);
    if (!names.insert(t.name).second) {
      throw CheckpointError(fmt::format("the name {} occurs twice", quoted_name(t.name)), "name");
    }
    sorted.push_back(&t);
  }
  std::sort(sorted.begin(), sorted.end(), [](const StoredTensor* a, const StoredTensor* b) {
    const int rank_a = safetensors_dtype(a->dtype)->rank;
    const int rank_b = safetensors_dtype(b->dtype)->rank;
    return rank_a != rank_b ? rank_a > rank_b : a->name < b->name;
  });
  return sorted;
}

std::string metadata_json(std::span<const MetadataEntry> metadata) {
  std::vector<std::string> items;
  for (const auto& [key, value] : metadata) {
    items.push_back(fmt::format("{}:{}", json_string(key, "metadata key"), json_string(value, "metadata value")));
  }
  return fmt::format("\"__metadata__\":{{{}}}", fmt::join(items, ","));
}

}  // namespace

StoredTensor StoredTensor::of(std::string name, Tensor tensor) {
  check_storable_tensor(tensor, name);
  const DType dtype = tensor.dtype();
  Shape shape = tensor.shape();
  return {std::move(name), dtype, std::move(shape), [tensor = std::move(tensor)] { return tensor; }};
}

SafetensorsLayout::SafetensorsLayout(std::span<const StoredTensor> tensors, std::span<const MetadataEntry> metadata) {
  std::vector<std::string> items;
  if (!metadata.empty()) items.push_back(metadata_json(metadata));
  for (const StoredTensor* t : sorted_for_file(tensors)) {
    const std::int64_t begin = data_bytes_;
    data_bytes_ += t->nbytes();
    items.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", json_string(t->name, "name"),
                                safetensors_dtype(t->dtype)->code, fmt::join(t->shape, ","), begin, data_bytes_));
    tensors_.push_back(*t);
  }
  std::string text = fmt::format("{{{}}}", fmt::join(items, ","));
  text.append((kDataAlignment - text.size() % kDataAlignment) % kDataAlignment, ' ');
  const std::uint64_t length = text.size();
  if (length > kMaxHeaderBytes) {
    throw CheckpointError(fmt::format("a header of {} bytes; a safetensors file may have {}", length, kMaxHeaderBytes), "name");
  }
  header_.resize(sizeof length);
  std::memcpy(header_.data(), &length, sizeof length);
  header_ += text;
}

void SafetensorsLayout::write(OutputFile& file, const std::function<void(std::int64_t)>& progress) const {
  constexpr std::size_t kChunk = std::size_t{8} << 20;  // often enough for a progress bar, seldom enough not to cost
  file.write(header_);
  for (const StoredTensor& stored : tensors_) {
    const Tensor tensor = stored.values();
    check_storable_tensor(tensor, stored.name);
    if (tensor.dtype() != stored.dtype || tensor.shape() != stored.shape) {
      throw Error(fmt::format("{}: was to be {} {}, and is {} {}", quoted_name(stored.name), dtype_name(stored.dtype),
                              shape_to_string(stored.shape), dtype_name(tensor.dtype()), shape_to_string(tensor.shape())));
    }
    std::span<const std::byte> rest(tensor.bytes(), static_cast<std::size_t>(tensor.nbytes()));
    while (!rest.empty()) {
      const auto chunk = rest.first(std::min(rest.size(), kChunk));
      file.write(chunk);
      rest = rest.subspan(chunk.size());
      if (progress) progress(static_cast<std::int64_t>(chunk.size()));
    }
  }
}

void check_storable_name(std::string_view name) {
  if (name.empty()) throw CheckpointError("an empty name cannot be stored", "name");
  if (name == "__metadata__") {
    throw CheckpointError("the name '__metadata__' is reserved by safetensors", "name");
  }
  json_string(std::string(name), "the name");
}

void check_storable_dtype(DType dtype, std::string_view name) {
  if (safetensors_dtype(dtype) == nullptr) {
    throw CheckpointError(fmt::format("{}: safetensors has no dtype for {}", quoted_name(name), dtype_name(dtype)), "dtype");
  }
}

void check_storable_tensor(const Tensor& tensor, std::string_view name) {
  if (!tensor.defined()) throw CheckpointError(fmt::format("{}: an undefined tensor cannot be stored", quoted_name(name)), "dtype");
  check_storable_dtype(tensor.dtype(), name);
}

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors,
                       std::span<const MetadataEntry> metadata) {
  std::vector<StoredTensor> stored;
  for (const auto& [name, tensor] : tensors) stored.push_back(StoredTensor::of(name, tensor));
  const SafetensorsLayout layout(stored, metadata);
  const std::filesystem::path temporary = temporary_beside(path);
  try {
    OutputFile file(temporary);
    layout.write(file);
    file.finish();
    rename_path(temporary, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  sync_folder(folder_of(path));
}

}  // namespace torchao_cpp
