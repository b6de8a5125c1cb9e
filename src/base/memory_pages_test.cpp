// SPDX-License-Identifier: Apache-2.0
#include "base/memory_pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/mapped_file.h"

namespace torchao_cpp {
namespace {

// Pages of a stretch that this process has: /proc/self/pagemap, bit 63.
std::int64_t pages_present(std::span<const std::byte> bytes) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / page;
  const auto end =
      (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size() + page - 1) / page;
  std::vector<std::uint64_t> entries(end - begin);
  const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const auto size = static_cast<ssize_t>(entries.size() * 8);
  EXPECT_EQ(::pread(fd, entries.data(), entries.size() * 8, static_cast<off_t>(begin * 8)), size);
  ::close(fd);
  return std::count_if(entries.begin(), entries.end(),
                       [](std::uint64_t e) { return e >> 63 != 0; });
}

class MappedPages : public testing::Test {
 protected:
  static constexpr std::size_t kBytes = std::size_t{6} << 20;

  void SetUp() override {
    path_ =
        std::filesystem::temp_directory_path() / ("torchao_pages_" + std::to_string(::getpid()));
    std::string content(kBytes, '\0');
    for (std::size_t i = 0; i < kBytes; ++i) content[i] = static_cast<char>(i * 2654435761U >> 24);
    std::ofstream(path_, std::ios::binary) << content;
    file_ = std::make_shared<const MappedFile>(path_);
  }
  void TearDown() override { std::filesystem::remove(path_); }

  bool has_content(std::size_t begin, std::size_t count) const {
    for (std::size_t i = begin; i < begin + count; ++i) {
      if (file_->bytes()[i] != static_cast<std::byte>(i * 2654435761U >> 24)) return false;
    }
    return true;
  }

  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> file_;
};

TEST_F(MappedPages, ComeWithPopulateAndGoWithRelease) {
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto all = file_->bytes();
  const auto stretch = all.subspan(100, (std::size_t{4} << 20) + 17);
  read_ahead(stretch);
  populate_pages(stretch);
  const auto pages = static_cast<std::int64_t>((100 + stretch.size() + page - 1) / page);
  EXPECT_EQ(pages_present(stretch), pages);
  EXPECT_TRUE(has_content(100, stretch.size()));
  release_file_pages(stretch);
  EXPECT_LE(pages_present(stretch), 2);  // Those that hold bytes of others.
  EXPECT_TRUE(has_content(0, kBytes));
}

TEST_F(MappedPages, GoWithTheirLastOwner) {
  const auto stretch = file_->bytes().subspan(0, std::size_t{2} << 20);
  std::shared_ptr<const void> owner = borrow_pages(file_, stretch);
  std::shared_ptr<const void> other = owner;
  populate_pages(stretch);
  owner.reset();
  EXPECT_EQ(pages_present(stretch),
            static_cast<std::int64_t>(stretch.size()) / ::sysconf(_SC_PAGESIZE));
  other.reset();
  EXPECT_EQ(pages_present(stretch), 0);
  EXPECT_TRUE(has_content(0, stretch.size()));
}

TEST(MapZeroed, IsZeroAndGivenBack) {
  for (const bool prefers_huge : {false, true}) {
    constexpr std::size_t kBytes = (std::size_t{5} << 20) + 3;
    std::byte* const memory = map_zeroed(kBytes, prefers_huge);
    ASSERT_NE(memory, nullptr);
    EXPECT_TRUE(
        std::all_of(memory, memory + kBytes, [](std::byte b) { return b == std::byte{0}; }));
    std::fill(memory, memory + kBytes, std::byte{1});
    unmap(memory, kBytes);
    unsigned char present = 0;
    EXPECT_NE(::mincore(memory, 1, &present), 0);
  }
}

TEST(PopulatePages, TakesAnyMemory) {
  std::vector<std::byte> heap(100'000, std::byte{7});
  populate_pages(heap);
  read_ahead(heap);
  populate_pages({});
  read_ahead({});
  EXPECT_EQ(heap[99'999], std::byte{7});
}

}  // namespace
}  // namespace torchao_cpp
