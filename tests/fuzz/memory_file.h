// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <span>

namespace torchao_cpp::fuzz {

/// A file in memory with a path, so that a finding that ends the program leaves nothing behind.
class MemoryFile {
 public:
  /// Throws std::runtime_error when the system refuses it.
  explicit MemoryFile(std::span<const std::byte> bytes);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path path() const;

 private:
  int fd_ = -1;
};

}  // namespace torchao_cpp::fuzz
