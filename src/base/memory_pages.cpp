// SPDX-License-Identifier: Apache-2.0
#include "base/memory_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

// Linux 5.14; headers may be older than the kernel.
constexpr int kPopulateRead = 22;

std::uintptr_t page_size() noexcept {
  static const auto size = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

struct Pages {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  bool is_empty() const noexcept { return begin >= end; }
  void* address() const noexcept { return reinterpret_cast<void*>(begin); }
  std::size_t bytes() const noexcept { return end - begin; }
};

// Every page that holds a byte of it.
Pages pages_around(std::span<const std::byte> bytes) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t mask = page_size() - 1;
  return {begin & ~mask, (begin + bytes.size() + mask) & ~mask};
}

// Every page that holds nothing else.
Pages pages_within(std::span<const std::byte> bytes) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t mask = page_size() - 1;
  return {(begin + mask) & ~mask, (begin + bytes.size()) & ~mask};
}

void touch(Pages pages) noexcept {
  for (std::uintptr_t at = pages.begin; at < pages.end; at += page_size())
    static_cast<void>(*reinterpret_cast<const volatile char*>(at));
}

}  // namespace

std::byte* map_zeroed(std::size_t bytes, bool prefers_huge_pages) noexcept {
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (prefers_huge_pages) ::madvise(memory, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(memory);
}

void unmap(std::byte* memory, std::size_t bytes) noexcept { ::munmap(memory, bytes); }

void read_ahead(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  const Pages pages = pages_around(bytes);
  ::madvise(pages.address(), pages.bytes(), MADV_WILLNEED);
}

void populate_pages(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return;
  read_ahead(bytes);
  const Pages all = pages_around(bytes);
  const auto page = static_cast<std::int64_t>(page_size());
  constexpr std::int64_t kGrainBytes = std::int64_t{1} << 20;
  parallel_for(static_cast<std::int64_t>(all.bytes()) / page,
               std::max<std::int64_t>(kGrainBytes / page, 1),
               [&](std::int64_t begin, std::int64_t end) {
                 const Pages part{all.begin + static_cast<std::uintptr_t>(begin * page),
                                  all.begin + static_cast<std::uintptr_t>(end * page)};
                 int result = 0;
                 do {
                   result = ::madvise(part.address(), part.bytes(), kPopulateRead);
                 } while (result != 0 && (errno == EINTR || errno == EAGAIN));
                 if (result != 0 && errno == EINVAL) touch(part);  // The kernel does not know it.
               });
}

void release_file_pages(std::span<const std::byte> bytes) noexcept {
  const Pages pages = pages_within(bytes);
  if (!pages.is_empty()) ::madvise(pages.address(), pages.bytes(), MADV_DONTNEED);
}

}  // namespace torchao_cpp
