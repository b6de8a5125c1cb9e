// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/mapped_file.h"

namespace torchao_cpp {

/// One record of a zip archive: where its stored bytes lie in the file.
struct ZipEntry {
  std::string name;  ///< With the root folder, e.g. "archive/data/0".
  std::uint64_t begin = 0;
  std::uint64_t size = 0;
  std::uint32_t crc32 = 0;
};

/// The central directory of an archive, checked.
struct ZipDirectory {
  std::string root;  ///< The one folder that holds every entry, without '/'.
  std::vector<ZipEntry> entries;
};

/// Reads the directory of a zip archive as torch.save writes it: stored entries only, all below one
/// root folder; plain or ZIP64. Every offset is checked against the file; entries neither overlap
/// each other nor share a name, and each local header has the name that the directory gives.
/// `where` names the file in messages. Throws CheckpointError: zip.malformed, zip.bad_offset,
/// zip.unsupported, zip.compressed_entry or zip.duplicate_entry.
ZipDirectory parse_zip_directory(std::span<const std::byte> file, std::string_view where);

/// CRC-32 of ISO 3309, as zip stores it.
std::uint32_t crc32(std::span<const std::byte> bytes) noexcept;

/// A mapped and checked archive. Nothing is ever extracted. Immutable; safe to read from many
/// threads.
class ZipFile {
 public:
  /// `where` names the file in messages. Throws IoError, or CheckpointError as parse_zip_directory
  /// does.
  ZipFile(std::shared_ptr<const MappedFile> mapping, std::string where);

  const std::string& where() const noexcept { return where_; }
  const std::shared_ptr<const MappedFile>& mapping() const noexcept { return mapping_; }
  /// The entry `name` of the root folder, e.g. "data/0"; null when there is none.
  const ZipEntry* find(std::string_view name) const;
  /// The entry's bytes in the mapping.
  std::span<const std::byte> bytes(const ZipEntry& entry) const noexcept;
  /// Compares the checksum; throws CheckpointError zip.malformed when it differs.
  void check_crc(const ZipEntry& entry) const;

 private:
  std::string where_;
  std::shared_ptr<const MappedFile> mapping_;
  ZipDirectory directory_;
  std::unordered_map<std::string_view, const ZipEntry*> by_name_;
};

}  // namespace torchao_cpp
