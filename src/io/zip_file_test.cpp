// SPDX-License-Identifier: Apache-2.0
#include "io/zip_file.h"

#include <gtest/gtest.h>

#include "io/testing_torch.h"

namespace torchao_cpp {
namespace {

using namespace testing_torch;
using testing_files::as_bytes;
using testing_files::kind_of;

std::string kind(const std::string& file) {
  return kind_of([&] { parse_zip_directory(as_bytes(file), "f.bin"); });
}

const std::vector<ZipRecord> kTwo{{"a/data.pkl", "12345"}, {"a/data/0", "abc"}};

std::string archive64(const std::string& locator_offset_shift = {}) {
  const ZipParts p = zip_parts(kTwo);
  const std::uint64_t end64 = p.records.size() + p.directory.size() + locator_offset_shift.size();
  return p.records + p.directory + "PK\6\6" + number<std::uint64_t>(44) + std::string(12, '\0') +
         number<std::uint64_t>(p.count) + number<std::uint64_t>(p.count) +
         number<std::uint64_t>(p.directory.size()) + number<std::uint64_t>(p.records.size()) +
         "PK\6\7" + number<std::uint32_t>(0) + number(end64) + number<std::uint32_t>(1) +
         zip_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF);
}

TEST(Crc32, IsThatOfZip) { EXPECT_EQ(crc32(as_bytes("123456789")), 0xCBF43926u); }

TEST(ZipFile, FindsEntriesBehindExtraFieldsOfTheLocalHeader) {
  const std::string file =
      zip_archive({{"a/data.pkl", "12345", 0x0808, 0, "", std::string("FB\4\0ZZZZ", 8)},
                   {"a/data/0", "abc"},
                   {"a/e", ""}});
  const ZipDirectory d = parse_zip_directory(as_bytes(file), "f.bin");
  EXPECT_EQ(d.root, "a");
  ASSERT_EQ(d.entries.size(), 3u);
  EXPECT_EQ(file.substr(d.entries[0].begin, d.entries[0].size), "12345");
  EXPECT_EQ(file.substr(d.entries[1].begin, d.entries[1].size), "abc");
  EXPECT_EQ(d.entries[2].size, 0u);
}

TEST(ZipFile, ReadsZip64) {
  EXPECT_EQ(parse_zip_directory(as_bytes(archive64()), "f").entries.size(), 2u);
  // Sizes and offset in the extra field: size, compressed size, offset.
  ZipRecord wide{"a/x", "abc"};
  wide.size = 0xFFFFFFFF;
  wide.offset = 0xFFFFFFFF;
  wide.central_extra = std::string("\1\0\30\0", 4) + number<std::uint64_t>(3) +
                       number<std::uint64_t>(3) + number<std::uint64_t>(0);
  const std::string file = zip_archive({wide});
  const ZipDirectory d = parse_zip_directory(as_bytes(file), "f");
  EXPECT_EQ(file.substr(d.entries[0].begin, d.entries[0].size), "abc");
  wide.central_extra =
      std::string("\1\0\20\0", 4) + number<std::uint64_t>(3) + number<std::uint64_t>(3);
  EXPECT_EQ(kind(zip_archive({wide})), "zip.bad_offset");
  wide.central_extra = std::string("\1\0\30\0", 4) + number<std::uint64_t>(~0ull) +
                       number<std::uint64_t>(~0ull) + number<std::uint64_t>(0);
  EXPECT_EQ(kind(zip_archive({wide})), "zip.bad_offset");
  wide.central_extra = std::string("\1\0\30\0", 4) + number<std::uint64_t>(3) +
                       number<std::uint64_t>(3) + number<std::uint64_t>(~0ull);
  EXPECT_EQ(kind(zip_archive({wide})), "zip.bad_offset");
}

TEST(ZipFile, RefusesDamagedEnds) {
  const std::string good = zip_archive(kTwo);
  EXPECT_EQ(kind(good), "ok");
  EXPECT_EQ(kind(""), "zip.malformed");
  EXPECT_EQ(kind("PK"), "zip.malformed");
  EXPECT_EQ(kind(good + "x"), "zip.malformed");
  EXPECT_EQ(kind("x" + good), "zip.malformed");
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_NE(kind(good.substr(0, n)), "ok") << n;
  const ZipParts p = zip_parts(kTwo);
  const auto size = static_cast<std::uint32_t>(p.directory.size());
  const auto begin = static_cast<std::uint32_t>(p.records.size());
  const std::string body = p.records + p.directory;
  EXPECT_EQ(kind(body + zip_end(3, size, begin)), "zip.malformed");
  EXPECT_EQ(kind(body + zip_end(1, size, begin)), "zip.malformed");
  EXPECT_EQ(kind(body + zip_end(2, size, begin + 1)), "zip.bad_offset");
  EXPECT_EQ(kind(body + zip_end(2, 0xFFFFFFFF, begin)), "zip.bad_offset");
  EXPECT_EQ(kind(zip_end(0, 0, 0)), "zip.malformed");
  EXPECT_NE(kind(archive64("x")), "ok");
}

TEST(ZipFile, RefusesNamesOutsideOfOneFolder) {
  for (const char* name : {"x", "/a", "b/x", "a/../x", "a/./x", "a//x", "a/", "a\\x", "../a/x"}) {
    EXPECT_EQ(kind(zip_archive({{"a/data.pkl", "1"}, {name, "2"}})), "zip.malformed") << name;
  }
  EXPECT_EQ(kind(zip_archive({{std::string("a/x\0y", 5), "1"}})), "zip.malformed");
  EXPECT_EQ(kind(zip_archive({{"a/x", "1"}, {"a/x", "1"}})), "zip.duplicate_entry");
  EXPECT_EQ(kind(zip_archive({{"a/x", "1", 0x0808, 0, "a/y"}})), "zip.malformed");
}

TEST(ZipFile, RefusesCompressedEncryptedAndOverlappingEntries) {
  EXPECT_EQ(kind(zip_archive({{"a/x", "1", 0x0808, 8}})), "zip.compressed_entry");
  EXPECT_EQ(kind(zip_archive({{"a/x", "1", 0x0809}})), "zip.unsupported");
  ZipRecord far{"a/x", "1"};
  far.offset = 0x7FFFFFFF;
  EXPECT_EQ(kind(zip_archive({far})), "zip.bad_offset");
  ZipRecord large{"a/x", "1"};
  large.size = 0x7FFFFFFF;
  EXPECT_EQ(kind(zip_archive({large})), "zip.bad_offset");
  // The first entry's data cover the second entry.
  ZipRecord covering{"a/x", "1"};
  covering.size = 40;
  EXPECT_EQ(kind(zip_archive({covering, {"a/y", std::string(60, 'z')}})), "zip.malformed");
}

TEST(ZipFile, ChecksTheChecksumOnRequest) {
  const testing_files::ScratchFolder scratch;
  std::string file = zip_archive(kTwo);
  file[file.find("12345")] = 'X';
  testing_files::write_text(scratch / "f.bin", file);
  const ZipFile zip(std::make_shared<const MappedFile>(scratch / "f.bin"), "f.bin");
  EXPECT_EQ(zip.find("data/7"), nullptr);
  EXPECT_EQ(kind_of([&] { zip.check_crc(*zip.find("data/0")); }), "ok");
  EXPECT_EQ(kind_of([&] { zip.check_crc(*zip.find("data.pkl")); }), "zip.malformed");
}

}  // namespace
}  // namespace torchao_cpp
