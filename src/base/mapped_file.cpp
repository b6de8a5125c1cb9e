// SPDX-License-Identifier: Apache-2.0
#include "base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/memory_pages.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view what, int error) {
  throw IoError(fmt::format("{}: {}: {}", path.string(), what, std::strerror(error)));
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) {
  // O_NONBLOCK: a named pipe must not hang us before fstat can refuse it.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(path, "cannot be opened for reading", errno);
  struct stat status {};
  if (::fstat(file.fd, &status) != 0) fail(path, "its size cannot be read", errno);
  if (!S_ISREG(status.st_mode)) throw IoError(fmt::format("{}: is no regular file", path.string()));
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;
  void* const memory = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (memory == MAP_FAILED) fail(path, fmt::format("{} bytes cannot be mapped", size_), errno);
  data_ = static_cast<const std::byte*>(memory);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::shared_ptr<const void> borrow_pages(std::shared_ptr<const MappedFile> file,
                                         std::span<const std::byte> bytes) {
  struct Borrowed {
    std::shared_ptr<const MappedFile> file;
    std::span<const std::byte> bytes;
    Borrowed(std::shared_ptr<const MappedFile> f, std::span<const std::byte> b)
        : file(std::move(f)), bytes(b) {}
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() { release_file_pages(bytes); }
  };
  return std::make_shared<const Borrowed>(std::move(file), bytes);
}

}  // namespace torchao_cpp
