// SPDX-License-Identifier: Apache-2.0
#include "models/base_model_source.h"

#include <fmt/format.h>

#include <algorithm>

namespace torchao_cpp {
namespace {

constexpr std::string_view kPrefix = "model.";

class PrefixedSource final : public CheckpointSource {
 public:
  explicit PrefixedSource(std::unique_ptr<const CheckpointSource> source)
      : source_(std::move(source)) {
    for (const std::string& name : source_->names) names.push_back(prefixed(name));
    for (const std::string& name : source_->tied) tied.push_back(prefixed(name));
    warnings = source_->warnings;
    warnings.push_back(
        fmt::format("names are without the leading '{}', as of a model that was "
                    "saved without its head; they are read as with it",
                    kPrefix));
    nbytes = source_->nbytes;
    is_serialized = source_->is_serialized;
    index_total_size = source_->index_total_size;
  }

  CheckpointEntry entry(std::size_t index) const override {
    CheckpointEntry out = source_->entry(index);
    out.fqn = names[index];
    return out;
  }

 private:
  static std::string prefixed(const std::string& name) {
    return name.starts_with("lm_head.") ? name : fmt::format("{}{}", kPrefix, name);
  }

  std::unique_ptr<const CheckpointSource> source_;
};

}  // namespace

std::unique_ptr<const CheckpointSource> with_model_prefix(
    std::unique_ptr<const CheckpointSource> source, std::string_view embed_tokens) {
  if (!embed_tokens.starts_with(kPrefix)) return source;
  const std::string embedding = fmt::format("{}.weight", embed_tokens.substr(kPrefix.size()));
  const std::vector<std::string>& names = source->names;
  const bool has_prefix = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name.starts_with(kPrefix);
  });
  if (has_prefix || std::find(names.begin(), names.end(), embedding) == names.end()) return source;
  return std::make_unique<const PrefixedSource>(std::move(source));
}

}  // namespace torchao_cpp
