// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "models/model_folder.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {

/// A model folder in, a model folder out: what all conversions share, that is reading entries in
/// order, progress, cancelling, and the files beside the weights. Nothing is left behind unless
/// finish() returns.
class Conversion {
 public:
  /// Throws IoError when `destination` is the source or taken. `folder`, `progress` and `cancelled`
  /// must outlive it; the last two may be null.
  Conversion(const ModelFolder& folder, const std::filesystem::path& destination,
             std::string_view stage, const ProgressCallback& progress,
             const std::atomic<bool>* cancelled);

  /// Calls `convert(entry)` for every entry of the checkpoint. Throws Error (kind "cancelled").
  template <typename F>
  void for_each_entry(const F& convert) {
    std::int64_t done = 0;
    for (const std::string& fqn : folder_.checkpoint.names()) {
      check_cancelled();
      const CheckpointEntry entry = folder_.checkpoint.entry(fqn);
      convert(entry);
      done += stored_bytes(entry);
      if (progress_) progress_(stage_, done, folder_.checkpoint.nbytes());
    }
  }

  void add_plain(const std::string& fqn, Tensor tensor);
  void add_quantized(const std::string& fqn, TensorParts parts);

  /// True for the output head of a model that ties it to the embedding. A second copy would be read
  /// as a weight of its own by some loaders.
  bool is_tied_head(std::string_view fqn) const;

  std::int64_t bytes_before() const noexcept { return folder_.checkpoint.nbytes(); }
  /// Of what was added so far.
  std::int64_t bytes_after() const noexcept { return bytes_after_; }

  /// Writes weights, config.json and the other files of the folder. Throws IoError, or Error (kind
  /// "cancelled").
  void finish(const Json& config);

 private:
  void check_cancelled() const;

  const ModelFolder& folder_;
  CheckpointWriter writer_;
  std::string stage_;
  const ProgressCallback& progress_;
  const std::atomic<bool>* cancelled_;
  std::int64_t bytes_after_ = 0;
};

/// Throws Error (kind "cancelled") when the flag is there and set.
void check_not_cancelled(const std::atomic<bool>* cancelled);
/// Throws UnsupportedError for a dtype that plain weights cannot have.
void check_result_dtype(std::optional<DType> dtype);
/// Sets "dtype" and "torch_dtype" of a config.json where it has them, else "dtype".
void set_dtype(Json& config, DType dtype);
/// Copies the tokenizer's files and generation_config.json, as far as `folder` has them.
void copy_tokenizer_files(const std::filesystem::path& folder, CheckpointWriter& writer);

}  // namespace torchao_cpp
