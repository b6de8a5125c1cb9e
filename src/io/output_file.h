// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace torchao_cpp {

/// A file being written. Every failure throws IoError with the path and the system's reason (disk full, no permission).
/// Destroying it closes the file; removing an unfinished one is the caller's part.
class OutputFile {
 public:
  enum class Mode { kNew, kExisting };

  /// kNew creates the file and throws when it exists; kExisting opens one (such as a device).
  explicit OutputFile(const std::filesystem::path& path, Mode mode = Mode::kNew);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  /// Waits until the data are on the disk, then closes. Only after this has returned is the file complete.
  void finish();

 private:
  [[noreturn]] void fail(std::string_view what, int error) const;

  std::filesystem::path path_;
  int fd_ = -1;
};

/// Makes the names in `folder` durable (created, renamed files). Throws IoError.
void sync_folder(const std::filesystem::path& folder);

/// A path beside `path` for writing its new contents: "DIR/.NAME.tmp-PID-N". N differs from call to call.
std::filesystem::path temporary_beside(const std::filesystem::path& path);

/// The folder that holds `path`; "." for a bare name.
std::filesystem::path folder_of(const std::filesystem::path& path);

/// rename(2). Throws IoError naming both.
void rename_path(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace torchao_cpp
