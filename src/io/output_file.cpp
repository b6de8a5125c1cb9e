// SPDX-License-Identifier: Apache-2.0
#include "io/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "torchao_cpp/error.h"

namespace torchao_cpp {

OutputFile::OutputFile(const std::filesystem::path& path, Mode mode) : path_(path) {
  const int flags = mode == Mode::kNew ? O_CREAT | O_EXCL : 0;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0666);
  if (fd_ < 0) fail("cannot be opened for writing", errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // Linux writes at most 2^31 - 4096 bytes a call
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kMostAtOnce));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("cannot be written", errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void OutputFile::finish() {
  // Devices and pipes cannot be synced, and need not be.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != EROFS) fail("cannot be written to the disk", errno);
  if (::close(std::exchange(fd_, -1)) != 0) fail("cannot be closed", errno);
}

void OutputFile::fail(std::string_view what, int error) const {
  throw IoError(fmt::format("{}: {}: {}", path_.string(), what, std::strerror(error)));
}

void sync_folder(const std::filesystem::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool is_open = fd >= 0;
  // Some file systems cannot sync folders (EINVAL): nothing is lost that they could keep.
  const bool is_synced = is_open && (::fsync(fd) == 0 || errno == EINVAL);
  const int error = errno;
  if (is_open) ::close(fd);
  if (!is_synced) throw IoError(fmt::format("{}: cannot be written to the disk: {}", folder.string(), std::strerror(error)));
}

std::filesystem::path temporary_beside(const std::filesystem::path& path) {
  static std::atomic<unsigned> next{0};
  const std::string name = fmt::format(".{}.tmp-{}-{}", path.filename().string(), ::getpid(), next++);
  return folder_of(path) / name;
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

void rename_path(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    throw IoError(fmt::format("{}: cannot be renamed to '{}': {}", from.string(), to.string(), std::strerror(errno)));
  }
}

}  // namespace torchao_cpp
