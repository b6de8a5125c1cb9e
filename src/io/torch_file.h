// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "io/torch_entry.h"

namespace torchao_cpp {

/// A file of torch.save (the zip form, torch >= 1.6) that holds a dict of tensors: mapped, and
/// checked as a whole before any value is used. Nothing is executed and nothing is extracted.
/// Immutable; safe to read from many threads.
class TorchFile {
 public:
  /// `where` names the file in messages. Throws IoError, or CheckpointError: zip.*, pickle.*,
  /// bin.*, and ao.* for what does not fit a class of torchao.
  TorchFile(const std::filesystem::path& path, std::string where);

  const std::string& where() const noexcept { return where_; }
  /// In the dict's order.
  std::span<const TorchEntry> entries() const noexcept { return entries_; }
  /// Remarks for a person.
  std::span<const std::string> notes() const noexcept { return notes_; }

 private:
  std::string where_;
  std::vector<TorchEntry> entries_;
  std::vector<std::string> notes_;
};

}  // namespace torchao_cpp
