// SPDX-License-Identifier: Apache-2.0
#include "fuzz/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

namespace torchao_cpp::fuzz {

MemoryFile::MemoryFile(std::span<const std::byte> bytes)
    : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  if (fd_ < 0) throw std::runtime_error("memfd_create gave no file");
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written <= 0) {
      ::close(fd_);
      throw std::runtime_error("a file in memory could not be written");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

MemoryFile::~MemoryFile() { ::close(fd_); }

std::filesystem::path MemoryFile::path() const { return "/proc/self/fd/" + std::to_string(fd_); }

}  // namespace torchao_cpp::fuzz
