// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>

#include "io/checkpoint_source.h"
#include "io/near_matches.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {

struct Checkpoint::Impl {
  Impl(std::unique_ptr<const CheckpointSource> opened, std::string path)
      : where(std::move(path)), source(std::move(opened)), warnings(source->warnings) {
    for (std::size_t i = 0; i < source->names.size(); ++i) by_name.emplace(source->names[i], i);
    // Writers count a quantized weight's logical bytes in various ways; of plain ones the sum must fit.
    const auto total = static_cast<std::uint64_t>(source->nbytes);
    if (!source->is_serialized && source->index_total_size && *source->index_total_size != total) {
      warnings.push_back(fmt::format("{}: the index says total_size {}, but the tensors have {} bytes", where,
                                     *source->index_total_size, total));
    }
  }

  std::string where;
  std::unique_ptr<const CheckpointSource> source;
  std::unordered_map<std::string_view, std::size_t> by_name;  ///< To the place in source->names.
  std::vector<std::string> warnings;
};

Checkpoint::Checkpoint(const std::filesystem::path& path) : Checkpoint(open_checkpoint_source(path), path.string()) {}
Checkpoint::Checkpoint(std::unique_ptr<const CheckpointSource> source, std::string where)
    : impl_(std::make_unique<Impl>(std::move(source), std::move(where))) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

std::span<const std::string> Checkpoint::names() const noexcept { return impl_->source->names; }

bool Checkpoint::contains(std::string_view fqn) const noexcept { return impl_->by_name.contains(fqn); }

CheckpointEntry Checkpoint::entry(std::string_view fqn) const {
  const auto found = impl_->by_name.find(fqn);
  if (found == impl_->by_name.end()) {
    std::vector<std::string> near;
    for (const std::string& name : near_matches(fqn, impl_->source->names)) near.push_back(quoted_name(name));
    const bool is_tied = std::find(impl_->source->tied.begin(), impl_->source->tied.end(), fqn) != impl_->source->tied.end();
    const std::string hint = is_tied        ? "; it is listed without data, as a weight tied to another one is"
                             : near.empty() ? ""
                                            : fmt::format("; did you mean {}?", fmt::join(near, ", "));
    throw CheckpointError(fmt::format("{}: has no tensor {}{}", impl_->where, quoted_name(fqn), hint), "missing");
  }
  return impl_->source->entry(found->second);
}

std::span<const std::string> Checkpoint::tied_names() const noexcept { return impl_->source->tied; }

bool Checkpoint::is_torchao_serialized() const noexcept { return impl_->source->is_serialized; }

std::int64_t Checkpoint::nbytes() const noexcept { return impl_->source->nbytes; }

std::span<const std::string> Checkpoint::warnings() const noexcept { return impl_->warnings; }

}  // namespace torchao_cpp
