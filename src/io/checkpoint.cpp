// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <unordered_map>

#include "io/checkpoint_files.h"
#include "io/flattened_form.h"
#include "io/near_matches.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {

struct Checkpoint::Impl {
  explicit Impl(const std::filesystem::path& path)
      : where(path.string()), files(CheckpointFiles::open(path)), form(assemble_flattened_form(files)) {
    for (const FlattenedEntry& e : form.entries) {
      by_name.emplace(e.fqn, &e);
      names.push_back(e.fqn);
      is_serialized = is_serialized || !e.is_plain();
    }
    warnings = files.warnings;
    warnings.insert(warnings.end(), form.warnings.begin(), form.warnings.end());
    // Writers count a quantized weight's logical bytes in various ways; of plain ones the sum must fit.
    const auto total = static_cast<std::uint64_t>(files.nbytes);
    if (!is_serialized && files.index_total_size && *files.index_total_size != total) {
      warnings.push_back(fmt::format("{}: the index says total_size {}, but the tensors have {} bytes", where,
                                     *files.index_total_size, total));
    }
  }

  std::string where;
  CheckpointFiles files;
  FlattenedForm form;
  std::unordered_map<std::string_view, const FlattenedEntry*> by_name;
  std::vector<std::string> names;
  std::vector<std::string> warnings;
  bool is_serialized = false;
};

Checkpoint::Checkpoint(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;

std::span<const std::string> Checkpoint::names() const noexcept { return impl_->names; }

bool Checkpoint::contains(std::string_view fqn) const noexcept { return impl_->by_name.contains(fqn); }

CheckpointEntry Checkpoint::entry(std::string_view fqn) const {
  const auto found = impl_->by_name.find(fqn);
  if (found == impl_->by_name.end()) {
    std::vector<std::string> near;
    for (const std::string& name : near_matches(fqn, impl_->names)) near.push_back(quoted_name(name));
    const bool is_tied = std::find(impl_->form.tied.begin(), impl_->form.tied.end(), fqn) != impl_->form.tied.end();
    const std::string hint = is_tied        ? "; it is listed without data, as a weight tied to another one is"
                             : near.empty() ? ""
                                            : fmt::format("; did you mean {}?", fmt::join(near, ", "));
    throw CheckpointError(fmt::format("{}: has no tensor {}{}", impl_->where, quoted_name(fqn), hint), "missing");
  }
  const FlattenedEntry& flattened = *found->second;
  CheckpointEntry entry;
  entry.fqn = flattened.fqn;
  if (flattened.is_plain()) {
    entry.plain = flattened.parts.front().second.tensor();
    return entry;
  }
  TensorParts& parts = entry.parts.emplace();
  parts.class_name = flattened.class_name;
  parts.attributes = flattened.attributes;
  for (const auto& [name, flat] : flattened.parts) parts.parts.emplace_back(name, flat.tensor());
  return entry;
}

std::span<const std::string> Checkpoint::tied_names() const noexcept { return impl_->form.tied; }

bool Checkpoint::is_torchao_serialized() const noexcept { return impl_->is_serialized; }

std::int64_t Checkpoint::nbytes() const noexcept { return impl_->files.nbytes; }

std::span<const std::string> Checkpoint::warnings() const noexcept { return impl_->warnings; }

}  // namespace torchao_cpp
