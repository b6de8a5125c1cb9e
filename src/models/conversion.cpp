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
constexpr auto kCopiedFiles = std::to_array<std::string_view>(
    {"generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
     "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
     "chat_template.json", "LICENSE", "LICENSE.txt"});

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
  return folder_.config.tie_word_embeddings && fqn == std::string(kHeadPrefix) + ".weight";
}

void Conversion::finish(const Json& config) {
  writer_.add_file("config.json", dump_json_python(config, 2) + "\n");
  for (const std::string_view name : kCopiedFiles) {
    const fs::path path = folder_.directory / name;
    std::error_code error;
    if (fs::is_regular_file(path, error)) writer_.copy_file(path);
  }
  writer_.finish([&](std::int64_t done, std::int64_t total) {
    check_cancelled();
    if (progress_) progress_("write", done, total);
  });
}

void Conversion::check_cancelled() const {
  if (cancelled_ != nullptr && cancelled_->load())
    throw Error("cancelled; nothing was written", "cancelled");
}

}  // namespace torchao_cpp
