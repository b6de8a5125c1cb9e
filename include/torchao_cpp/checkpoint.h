// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "torchao_cpp/export.h"
#include "torchao_cpp/tensor.h"
#include "torchao_cpp/weight_tensor.h"

namespace torchao_cpp {

/// One named entry of a checkpoint: a plain tensor, or the parts of a torchao tensor subclass.
struct CheckpointEntry {
  std::string fqn;                    ///< e.g. "model.layers.0.mlp.up_proj.weight"
  Tensor plain;                       ///< Undefined when quantized.
  std::optional<TensorParts> parts;   ///< Set when quantized; not yet checked against its class.
  /// The class in the file and, for the old ones of .bin files, what it wraps:
  /// "LinearActivationQuantizedTensor(AffineQuantizedTensor(PlainAQTTensorImpl))". Empty for a plain tensor. Differs from
  /// parts->class_name, or comes with `plain`, where reading made another class of it.
  std::string stored_class;
};

/// A class of weights that torchao wrote into .bin files: one row of `torchao weights`.
struct BinClassInfo {
  std::string_view module;    ///< As pickles name it: "torchao.dtypes.uintx.plain_layout"
  std::string_view name;      ///< "PlainAQTTensorImpl"
  std::string_view versions;  ///< Of torchao that wrote it under this module: "0.7 to 0.17"
  /// What reading makes of it, by its values: classes of today, itself among them, or "Tensor" where it is dequantized.
  /// Empty where it only wraps one of the others, or is not read.
  std::vector<std::string_view> becomes;
  std::string_view adds;         ///< What a wrapper adds to the weight in it; empty for others.
  std::string_view unsupported;  ///< Why it is not read; empty otherwise.
};
TORCHAO_CPP_EXPORT std::vector<BinClassInfo> bin_class_infos();

class CheckpointSource;

/// A directory or a single file, memory-mapped and validated: safetensors with torchao's flattened form (torchao 0.14 and
/// >= 0.15 spellings), or the .bin files of torch.save with torchao's tensor classes of 0.7 to 0.18. Immutable and safe to
/// read from many threads. Tensors borrow from the mapping where they can, and keep it alive.
class TORCHAO_CPP_EXPORT Checkpoint {
 public:
  /// `path`: a model folder (model.safetensors, or model.safetensors.index.json with its shards; without these the same of
  /// pytorch_model.bin) or one file (.bin, .pt and .pth are torch's, all others safetensors).
  /// Throws IoError (absent, unreadable) or CheckpointError (kinds st.*, zip.*, pickle.*, bin.*, index.*, ao.*), naming
  /// file and entry.
  explicit Checkpoint(const std::filesystem::path& path);
  /// Of entries that come from elsewhere; `where` names that in messages. For the library's own use.
  Checkpoint(std::unique_ptr<const CheckpointSource> source, std::string where);
  ~Checkpoint();
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;

  /// Names in file order (torchao's tensor_names order where given). A listed name without any data (a tied weight) is left out.
  std::span<const std::string> names() const noexcept;
  bool contains(std::string_view fqn) const noexcept;
  /// Throws CheckpointError (kind "missing") naming near matches when absent.
  CheckpointEntry entry(std::string_view fqn) const;
  /// Names that the metadata lists but whose data were dropped because they are tied to another weight.
  std::span<const std::string> tied_names() const noexcept;
  /// True when any entry is a torchao tensor subclass.
  bool is_torchao_serialized() const noexcept;
  /// Bytes of all tensor data.
  std::int64_t nbytes() const noexcept;
  /// Remarks for a person (e.g. an index total_size that does not fit).
  std::span<const std::string> warnings() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Writes torchao's flattened safetensors (the form of torchao 0.15 to 0.18) with Hugging Face sharding.
///
/// Everything goes to a temporary folder beside `directory`, which finish() renames; a writer that is destroyed without
/// finish() removes it, so a half-written folder is never seen.
class TORCHAO_CPP_EXPORT CheckpointWriter {
 public:
  /// Throws IoError when `directory` exists (and is not empty) or its parent is not writable.
  explicit CheckpointWriter(const std::filesystem::path& directory, std::int64_t max_shard_bytes = std::int64_t{5} << 30);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Queues a plain tensor or a quantized one (no data are copied until finish()). Throws CheckpointError for a name that cannot be stored.
  void add(std::string fqn, Tensor plain);
  void add(std::string fqn, TensorParts parts);
  /// Queues a plain tensor that `values` makes when it is written, so that not all of a large model need be in memory.
  /// finish() throws Error when it makes another dtype or shape than was said here.
  void add(std::string fqn, DType dtype, Shape shape, std::function<Tensor()> values);
  /// Writes or copies a further file of the model folder (config.json, tokenizer.json).
  void add_file(std::string_view file_name, std::string_view content);
  void copy_file(const std::filesystem::path& source);
  /// Writes all shards and the index, syncs, renames. `progress(done_bytes, total_bytes)` may be null. Throws IoError.
  void finish(const std::function<void(std::int64_t, std::int64_t)>& progress = nullptr);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Plain tensors to one safetensors file, in the layout of the official writer, by temporary name and rename. Throws IoError.
TORCHAO_CPP_EXPORT void write_safetensors(const std::filesystem::path& path,
                                          std::span<const std::pair<std::string, Tensor>> tensors,
                                          std::span<const std::pair<std::string, std::string>> metadata = {});

}  // namespace torchao_cpp
