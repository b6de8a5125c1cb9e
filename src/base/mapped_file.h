// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace torchao_cpp {

/// A whole regular file, mapped read-only for the life of this object.
///
/// The size is that of the opened file, so offsets below bytes().size() are safe to read as long as no other process
/// truncates the file in the meantime.
class MappedFile {
 public:
  /// Throws IoError with the system's reason when the file cannot be opened or mapped, or is no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Starts at a page boundary; empty for an empty file.
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// An owner for who borrows `bytes` of `file`: keeps the file mapped, and when the last copy goes,
/// gives the pages back to the system. Others who read the same bytes only wait for them again.
std::shared_ptr<const void> borrow_pages(std::shared_ptr<const MappedFile> file,
                                         std::span<const std::byte> bytes);

}  // namespace torchao_cpp
