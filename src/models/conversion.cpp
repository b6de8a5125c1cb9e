// SPDX-License-Identifier: Apache-2.0
#include "models/conversion.h"

#include <fmt/format.h>

#include <array>

#include "models/layer_selection.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

namespace fs = std::filesystem;

// What a model folder holds beside weights and config.json; copied as it is.
constexpr auto kTokenizerFiles = std::to_array<std::string_view>(
    {"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
     "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
     "chat_template.json"});
constexpr auto kLicenseFiles = std::to_array<std::string_view>({"LICENSE", "LICENSE.txt"});

void copy_files(const fs::path& folder, std::span<const std::string_view> names,
                CheckpointWriter& writer) {
  for (const std::string_view name : names) {
    const fs::path path = folder / name;
    std::error_code error;
    if (fs::is_regular_file(path, error)) writer.copy_file(path);
  }
}

const fs::path& checked_destination(const fs::path& source, const fs::path& destination) {
  std::error_code error;
  if (fs::equivalent(source, destination, error)) {
    throw IoError(fmt::format("{}: is the source; expected another folder to write to",
                              destination.string()));
  }
  return destination;
}

}  // namespace

Conversion::Conversion(const ModelFolder& folder, const fs::path& destination,
                       std::string_view stage, const ProgressCallback& progress,
                       const std::atomic<bool>* cancelled)
    : folder_(folder),
      writer_(checked_destination(folder.directory, destination)),
      stage_(stage),
      progress_(progress),
      cancelled_(cancelled) {}

void Conversion::add_plain(const std::string& fqn, Tensor tensor) {
  bytes_after_ += tensor.nbytes();
  writer_.add(fqn, std::move(tensor));
}

void Conversion::add_quantized(const std::string& fqn, TensorParts parts) {
  bytes_after_ += parts_bytes(parts);
  writer_.add(fqn, std::move(parts));
}

bool Conversion::is_tied_head(std::string_view fqn) const {
  return ties_word_embeddings(folder_.config) && fqn == std::string(kHeadPrefix) + ".weight";
}

void Conversion::finish(const Json& config) {
  writer_.add_file("config.json", dump_json_python(config, 2) + "\n");
  copy_tokenizer_files(folder_.directory, writer_);
  copy_files(folder_.directory, kLicenseFiles, writer_);
  writer_.finish([&](std::int64_t done, std::int64_t total) {
    check_cancelled();
    if (progress_) progress_("write", done, total);
  });
}

void Conversion::check_cancelled() const { check_not_cancelled(cancelled_); }

void check_not_cancelled(const std::atomic<bool>* cancelled) {
  if (cancelled != nullptr && cancelled->load())
    throw Error("cancelled; nothing was written", "cancelled");
}

void check_result_dtype(std::optional<DType> dtype) {
  if (dtype && !is_high_precision(*dtype)) {
    throw UnsupportedError(fmt::format(
        "dtype {} of the result: expected float32, float16 or bfloat16", dtype_name(*dtype)));
  }
}

void set_dtype(Json& config, DType dtype) {
  bool is_set = false;
  for (const char* key : {"dtype", "torch_dtype"}) {
    if (!config.contains(key)) continue;
    config[key] = std::string(dtype_name(dtype));
    is_set = true;
  }
  if (!is_set) config["dtype"] = std::string(dtype_name(dtype));
}

void copy_tokenizer_files(const fs::path& folder, CheckpointWriter& writer) {
  copy_files(folder, kTokenizerFiles, writer);
}

}  // namespace torchao_cpp
