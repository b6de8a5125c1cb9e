// SPDX-License-Identifier: Apache-2.0
#include "io/shard_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/json.h"

namespace torchao_cpp {
namespace {

bool any_quantized(std::span<const WriterEntry> entries) {
  return std::any_of(entries.begin(), entries.end(), [](const WriterEntry& e) { return !e.is_plain(); });
}

std::string metadata_entry(const WriterEntry& entry) {
  Json value = Json::object();
  value["_type"] = entry.is_plain() ? "Tensor" : entry.parts.class_name;
  if (!entry.is_plain()) {
    value["_data"] = Json::parse(entry.parts.attributes);
    value["_tensor_data_names"] = Json::array();
    for (const auto& [name, tensor] : entry.parts.parts) value["_tensor_data_names"].push_back(name);
  }
  return dump_json_python(value);
}

}  // namespace

std::vector<StoredTensor> flatten_entry(const WriterEntry& entry) {
  if (entry.is_plain()) return {entry.plain};
  const std::size_t dot = entry.fqn.rfind('.');
  std::vector<StoredTensor> out;
  for (const auto& [name, tensor] : entry.parts.parts) {
    out.push_back(StoredTensor::of(fmt::format("{}._{}_{}", entry.fqn.substr(0, dot), entry.fqn.substr(dot + 1), name), tensor));
  }
  return out;
}

std::vector<MetadataEntry> flattened_metadata(std::span<const WriterEntry> entries) {
  std::vector<MetadataEntry> metadata{{"format", "pt"}};
  if (!any_quantized(entries)) return metadata;
  Json names = Json::array();
  for (const WriterEntry& e : entries) names.push_back(e.fqn);
  metadata.emplace_back("tensor_names", dump_json_python(names));
  for (const WriterEntry& e : entries) metadata.emplace_back(e.fqn, metadata_entry(e));
  return metadata;
}

std::vector<PlannedShard> plan_shards(std::span<const WriterEntry> entries, std::int64_t max_shard_bytes) {
  std::vector<PlannedShard> shards(1);
  std::int64_t bytes = 0;
  for (const WriterEntry& entry : entries) {
    std::vector<StoredTensor> tensors = flatten_entry(entry);
    std::int64_t entry_bytes = 0;
    for (const StoredTensor& t : tensors) entry_bytes += t.nbytes();
    if (!shards.back().tensors.empty() && entry_bytes > max_shard_bytes - bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += entry_bytes;
    std::move(tensors.begin(), tensors.end(), std::back_inserter(shards.back().tensors));
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].file_name = shards.size() == 1
                              ? "model.safetensors"
                              : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
  }
  return shards;
}

std::string index_json(std::span<const PlannedShard> shards, std::span<const WriterEntry> entries) {
  std::int64_t total_size = 0;
  std::map<std::string, std::string> sorted;
  for (const PlannedShard& shard : shards) {
    for (const StoredTensor& tensor : shard.tensors) {
      total_size += tensor.nbytes();
      sorted.emplace(tensor.name, shard.file_name);
    }
  }
  Json metadata = Json::object();
  if (!any_quantized(entries)) {
    std::int64_t parameters = 0;
    for (const WriterEntry& e : entries) parameters += shape_numel(e.plain.shape);
    metadata["total_parameters"] = parameters;
  }
  metadata["total_size"] = total_size;
  // Not through Json: its ordered objects search all keys for each new one.
  std::string weight_map;
  for (const auto& [key, file] : sorted) {
    weight_map += fmt::format("{}\n    {}: {}", weight_map.empty() ? "" : ",", Json(key).dump(-1, ' ', true), Json(file).dump());
  }
  std::string metadata_text;
  for (const auto& [key, value] : metadata.items()) {
    metadata_text += fmt::format("{}\n    \"{}\": {}", metadata_text.empty() ? "" : ",", key, value.dump());
  }
  return fmt::format("{{\n  \"metadata\": {{{}\n  }},\n  \"weight_map\": {{{}\n  }}\n}}\n", metadata_text, weight_map);
}

}  // namespace torchao_cpp
