// SPDX-License-Identifier: Apache-2.0
#include "io/zip_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_set>

#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocatorSignature = 0x07064b50;
constexpr std::uint64_t kLocalSize = 30;
constexpr std::uint64_t kCentralSize = 46;
constexpr std::uint64_t kEndSize = 22;
constexpr std::uint64_t kEnd64Size = 56;
constexpr std::uint64_t kLocatorSize = 20;
constexpr std::uint64_t kMaxComment = 0xFFFF;
constexpr std::uint16_t kZip64Extra = 1;
constexpr std::uint16_t kStored = 0;
// Encryption, patched data, strong encryption, masked headers.
constexpr std::uint16_t kUnsupportedFlags = 0x0001 | 0x0020 | 0x0040 | 0x2000;

/// Where the directory lies and how many entries it has.
struct DirectoryPlace {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t count = 0;
};

/// What the directory says about one entry.
struct CentralEntry {
  ZipEntry entry;  ///< `begin` is that of the local header.
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint64_t compressed_size = 0;
  std::uint64_t disk = 0;
};

class DirectoryParser {
 public:
  DirectoryParser(std::span<const std::byte> file, std::string_view where)
      : file_(file), where_(where) {}

  ZipDirectory run() {
    const DirectoryPlace place = find_directory();
    std::uint64_t at = place.begin;
    std::unordered_set<std::string> names;
    for (std::uint64_t i = 0; i < place.count; ++i) {
      CentralEntry central = read_central(at, place.end);
      check_name(central.entry.name);
      locate(central, place.begin);
      if (!names.insert(central.entry.name).second) {
        fail("zip.duplicate_entry",
             fmt::format("two entries are named {}", quoted_name(central.entry.name)));
      }
      out_.entries.push_back(std::move(central.entry));
    }
    if (at != place.end) fail("zip.malformed", "the directory is longer than its entries");
    check_overlaps();
    return std::move(out_);
  }

 private:
  template <typename T>
  T read(std::uint64_t at) const noexcept {
    T value;  // the hosts that we build for are little endian, as the format is
    std::memcpy(&value, file_.data() + at, sizeof value);
    return value;
  }

  bool has_signature(std::uint64_t at, std::uint32_t signature) const noexcept {
    return file_.size() >= sizeof signature && at <= file_.size() - sizeof signature &&
           read<std::uint32_t>(at) == signature;
  }

  // The last record of the file; only its comment may follow.
  std::uint64_t find_end() const {
    if (file_.size() >= kEndSize) {
      const std::uint64_t last = file_.size() - kEndSize;
      const std::uint64_t first = last - std::min(last, kMaxComment);
      for (std::uint64_t at = last + 1; at-- > first;) {
        if (has_signature(at, kEndSignature) &&
            at + kEndSize + read<std::uint16_t>(at + 20) == file_.size())
          return at;
      }
    }
    fail("zip.malformed", "has no end-of-directory record; is the download complete?");
  }

  DirectoryPlace find_directory() const {
    const std::uint64_t end = find_end();
    const auto count = read<std::uint16_t>(end + 10);
    const auto size = read<std::uint32_t>(end + 12);
    const auto begin = read<std::uint32_t>(end + 16);
    if (std::uint64_t{begin} + size == end) {
      check_one_disk(read<std::uint16_t>(end + 4), read<std::uint16_t>(end + 6),
                     read<std::uint16_t>(end + 8), count);
      return checked({begin, end, count});
    }
    const bool has_locator =
        end >= kLocatorSize && has_signature(end - kLocatorSize, kLocatorSignature);
    if (!has_locator) {
      if (std::uint64_t{begin} + size > end)
        fail("zip.bad_offset", "the directory reaches past the end of the file");
      fail("zip.malformed", "the directory does not end where the end-of-directory record begins");
    }
    const DirectoryPlace place = read_end64(end - kLocatorSize);
    // A reader that knows no ZIP64 must not see another directory.
    if ((count != 0xFFFF && count != place.count) ||
        (size != 0xFFFFFFFF && size != place.end - place.begin) ||
        (begin != 0xFFFFFFFF && begin != place.begin)) {
      fail("zip.malformed", "the two end-of-directory records disagree");
    }
    return checked(place);
  }

  DirectoryPlace read_end64(std::uint64_t locator) const {
    if (read<std::uint32_t>(locator + 4) != 0 || read<std::uint32_t>(locator + 16) > 1) {
      fail("zip.unsupported", "is one part of a divided archive");
    }
    const auto at = read<std::uint64_t>(locator + 8);
    if (at > locator || locator - at < kEnd64Size)
      fail("zip.bad_offset", "the ZIP64 end-of-directory record is outside of the file");
    const auto record_size = read<std::uint64_t>(at + 4);
    if (read<std::uint32_t>(at) != kEnd64Signature || record_size != locator - at - 12) {
      fail("zip.malformed", "the ZIP64 end-of-directory record is damaged");
    }
    const auto count = read<std::uint64_t>(at + 32);
    check_one_disk(read<std::uint32_t>(at + 16), read<std::uint32_t>(at + 20),
                   read<std::uint64_t>(at + 24), count);
    const auto size = read<std::uint64_t>(at + 40);
    const auto begin = read<std::uint64_t>(at + 48);
    if (begin > at || size > at - begin)
      fail("zip.bad_offset", "the directory reaches past the end of the file");
    if (begin + size != at)
      fail("zip.malformed", "the directory does not end where the end-of-directory record begins");
    return {begin, at, count};
  }

  void check_one_disk(std::uint64_t disk, std::uint64_t first_disk, std::uint64_t count_here,
                      std::uint64_t count) const {
    if (disk != 0 || first_disk != 0 || count_here != count)
      fail("zip.unsupported", "is one part of a divided archive");
  }

  DirectoryPlace checked(DirectoryPlace place) const {
    if (place.count > (place.end - place.begin) / kCentralSize)
      fail("zip.malformed", "the directory is too short for its entries");
    if (place.count == 0) fail("zip.malformed", "has no entries");
    return place;
  }

  CentralEntry read_central(std::uint64_t& at, std::uint64_t end) const {
    if (end - at < kCentralSize || read<std::uint32_t>(at) != kCentralSignature) {
      fail("zip.malformed", "the directory has fewer entries than it says");
    }
    const std::uint64_t name_size = read<std::uint16_t>(at + 28);
    const std::uint64_t extra_size = read<std::uint16_t>(at + 30);
    const std::uint64_t comment_size = read<std::uint16_t>(at + 32);
    const std::uint64_t name = at + kCentralSize;
    if (name_size + extra_size + comment_size > end - name)
      fail("zip.malformed", "an entry of the directory is cut off");
    CentralEntry out;
    out.flags = read<std::uint16_t>(at + 8);
    out.method = read<std::uint16_t>(at + 10);
    out.entry.crc32 = read<std::uint32_t>(at + 16);
    out.compressed_size = read<std::uint32_t>(at + 20);
    out.entry.size = read<std::uint32_t>(at + 24);
    out.disk = read<std::uint16_t>(at + 34);
    out.entry.begin = read<std::uint32_t>(at + 42);
    out.entry.name.assign(reinterpret_cast<const char*>(file_.data() + name), name_size);
    widen(out, file_.subspan(name + name_size, extra_size));
    at = name + name_size + extra_size + comment_size;
    return out;
  }

  // Replaces the fields that are all ones by those of the ZIP64 extra field, which come in this
  // order.
  void widen(CentralEntry& out, std::span<const std::byte> extra) const {
    std::array<std::pair<std::uint64_t*, bool>, 3> fields{
        {{&out.entry.size, out.entry.size == 0xFFFFFFFF},
         {&out.compressed_size, out.compressed_size == 0xFFFFFFFF},
         {&out.entry.begin, out.entry.begin == 0xFFFFFFFF}}};
    if (std::none_of(fields.begin(), fields.end(), [](const auto& f) { return f.second; })) return;
    const std::span<const std::byte> zip64 = find_extra(extra, out.entry.name);
    std::uint64_t at = 0;
    for (auto& [value, is_saturated] : fields) {
      if (!is_saturated) continue;
      if (zip64.size() < at + sizeof *value) {
        fail("zip.bad_offset",
             fmt::format("entry {} says ZIP64, but lacks the sizes", quoted_name(out.entry.name)));
      }
      std::memcpy(value, zip64.data() + at, sizeof *value);
      at += sizeof *value;
    }
  }

  std::span<const std::byte> find_extra(std::span<const std::byte> extra,
                                        std::string_view name) const {
    while (extra.size() >= 4) {
      std::uint16_t id = 0;
      std::uint16_t size = 0;
      std::memcpy(&id, extra.data(), sizeof id);
      std::memcpy(&size, extra.data() + 2, sizeof size);
      if (size > extra.size() - 4)
        fail("zip.malformed", fmt::format("entry {} has a damaged extra field", quoted_name(name)));
      if (id == kZip64Extra) return extra.subspan(4, size);
      extra = extra.subspan(4 + std::size_t{size});
    }
    return {};
  }

  // Names are never used as paths; all the same, what could be taken for a path out of the archive
  // is refused.
  void check_name(std::string_view name) {
    using namespace std::string_view_literals;
    const std::size_t slash = name.find('/');
    bool is_good = slash != 0 && slash != std::string_view::npos &&
                   name.find_first_of("\\\0"sv) == std::string_view::npos;
    for (std::size_t at = 0; is_good && at <= name.size();) {
      const std::size_t next = std::min(name.find('/', at), name.size());
      const std::string_view part = name.substr(at, next - at);
      is_good = !part.empty() && part != "." && part != "..";
      at = next + 1;
    }
    if (is_good && out_.root.empty()) out_.root = name.substr(0, slash);
    if (!is_good || name.substr(0, slash) != out_.root) {
      fail("zip.malformed",
           fmt::format("entry {} is not inside the archive's one folder", quoted_name(name)));
    }
  }

  // From the local header to the data, which must lie before the directory.
  void locate(CentralEntry& central, std::uint64_t directory) {
    ZipEntry& e = central.entry;
    const std::string name = quoted_name(e.name);
    if ((central.flags & kUnsupportedFlags) != 0)
      fail("zip.unsupported", fmt::format("entry {} is encrypted or patched", name));
    if (central.disk != 0) fail("zip.unsupported", "is one part of a divided archive");
    if (central.method != kStored) {
      fail("zip.compressed_entry",
           fmt::format("entry {} is compressed (method {}); torch.save stores its entries", name,
                       central.method));
    }
    if (directory < kLocalSize || e.begin > directory - kLocalSize ||
        read<std::uint32_t>(e.begin) != kLocalSignature) {
      fail("zip.bad_offset",
           fmt::format("entry {}: no local header at its offset {}", name, e.begin));
    }
    const std::uint64_t local = e.begin;
    const std::uint64_t name_size = read<std::uint16_t>(local + 26);
    const std::uint64_t data = local + kLocalSize + name_size + read<std::uint16_t>(local + 28);
    if (data > directory || std::max(central.compressed_size, e.size) > directory - data) {
      fail("zip.bad_offset",
           fmt::format("entry {} reaches into the directory or past the end of the file", name));
    }
    if (central.compressed_size != e.size) {
      fail("zip.compressed_entry",
           fmt::format("entry {} has {} bytes for {}; torch.save stores its entries", name,
                       central.compressed_size, e.size));
    }
    if (name_size != e.name.size() ||
        std::memcmp(file_.data() + local + kLocalSize, e.name.data(), name_size) != 0) {
      fail("zip.malformed", fmt::format("entry {}: its local header has another name", name));
    }
    ranges_.emplace_back(local, data + e.size);
    e.begin = data;
  }

  void check_overlaps() {
    std::sort(ranges_.begin(), ranges_.end());
    for (std::size_t i = 1; i < ranges_.size(); ++i) {
      if (ranges_[i].first < ranges_[i - 1].second) {
        fail("zip.malformed",
             fmt::format("two entries share the bytes at offset {}", ranges_[i].first));
      }
    }
  }

  [[noreturn]] void fail(std::string_view kind, std::string_view message) const {
    throw CheckpointError(fmt::format("{}: zip archive: {}", where_, message), std::string(kind));
  }

  std::span<const std::byte> file_;
  std::string_view where_;
  ZipDirectory out_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges_;  ///< Local header to end of data.
};

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xEDB88320u : 0u);
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

}  // namespace

ZipDirectory parse_zip_directory(std::span<const std::byte> file, std::string_view where) {
  return DirectoryParser(file, where).run();
}

std::uint32_t crc32(std::span<const std::byte> bytes) noexcept {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::byte b : bytes)
    crc = (crc >> 8) ^ kCrcTable[(crc ^ static_cast<std::uint32_t>(b)) & 0xFF];
  return crc ^ 0xFFFFFFFF;
}

ZipFile::ZipFile(std::shared_ptr<const MappedFile> mapping, std::string where)
    : where_(std::move(where)),
      mapping_(std::move(mapping)),
      directory_(parse_zip_directory(mapping_->bytes(), where_)) {
  const std::size_t prefix = directory_.root.size() + 1;
  for (const ZipEntry& e : directory_.entries)
    by_name_.emplace(std::string_view(e.name).substr(prefix), &e);
}

const ZipEntry* ZipFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

std::span<const std::byte> ZipFile::bytes(const ZipEntry& entry) const noexcept {
  return mapping_->bytes().subspan(entry.begin, entry.size);
}

void ZipFile::check_crc(const ZipEntry& entry) const {
  const std::uint32_t got = crc32(bytes(entry));
  if (got == entry.crc32) return;
  throw CheckpointError(
      fmt::format("{}: zip archive: entry {} has the checksum {:08x}; expected {:08x}", where_,
                  quoted_name(entry.name), got, entry.crc32),
      "zip.malformed");
}

}  // namespace torchao_cpp
