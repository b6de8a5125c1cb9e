// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/safetensors_writer.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// A parameter to be written: plain (named `fqn`), or (with a class name) the parts of a quantized weight.
struct WriterEntry {
  std::string fqn;
  StoredTensor plain;
  TensorParts parts;

  bool is_plain() const noexcept { return plain.values != nullptr; }
};

/// Keys and tensors of one entry in torchao's flattened form (`mod._leaf_part`, or the name itself).
std::vector<StoredTensor> flatten_entry(const WriterEntry& entry);

/// The metadata of a whole model: "format" and, when any entry is quantized, "tensor_names" and an entry for each name.
std::vector<MetadataEntry> flattened_metadata(std::span<const WriterEntry> entries);

/// One file to be written.
struct PlannedShard {
  std::string file_name;
  std::vector<StoredTensor> tensors;
};

/// Fills shards in order until `max_shard_bytes` is reached; the parts of one weight stay together, and one that is larger
/// gets a shard for itself. One shard is model.safetensors, several are model-%05d-of-%05d.safetensors.
std::vector<PlannedShard> plan_shards(std::span<const WriterEntry> entries, std::int64_t max_shard_bytes);

/// Text of model.safetensors.index.json as Hugging Face writes it. total_parameters is given for plain models only: the
/// element count of a packed weight is not known here.
std::string index_json(std::span<const PlannedShard> shards, std::span<const WriterEntry> entries);

}  // namespace torchao_cpp
