// SPDX-License-Identifier: Apache-2.0
#include "fuzz/torch_image.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "io/zip_file.h"

namespace torchao_cpp::fuzz {
namespace {

void append_number(std::string& out, std::uint64_t value, int bytes) {
  for (; bytes > 0; --bytes, value >>= 8) out += static_cast<char>(value & 0xff);
}

/// A zip archive of stored records.
class Archive {
 public:
  void add(const std::string& name, std::string_view contents) {
    const std::size_t begin = file_.size();
    std::string common;  // From the version needed to the length of the extra field.
    append_number(common, 0, 10);
    append_number(common, crc32(std::as_bytes(std::span(contents.data(), contents.size()))), 4);
    append_number(common, contents.size(), 4);
    append_number(common, contents.size(), 4);
    append_number(common, name.size(), 2);
    append_number(common, 0, 2);
    file_.append("PK\x03\x04").append(common).append(name).append(contents);
    directory_.append("PK\x01\x02");
    append_number(directory_, 0, 2);
    directory_.append(common);
    append_number(directory_, 0, 10);
    append_number(directory_, begin, 4);
    directory_.append(name);
    ++count_;
  }

  std::string finish() && {
    const std::size_t begin = file_.size();
    file_.append(directory_).append("PK\x05\x06");
    append_number(file_, 0, 4);
    append_number(file_, count_, 2);
    append_number(file_, count_, 2);
    append_number(file_, directory_.size(), 4);
    append_number(file_, begin, 4);
    append_number(file_, 0, 2);
    return std::move(file_);
  }

 private:
  std::string file_;
  std::string directory_;
  std::uint64_t count_ = 0;
};

// Takes a number of `bytes` bytes from the front; what is missing counts as 0.
std::size_t take_number(std::string_view& input, std::size_t bytes) {
  std::size_t value = 0;
  for (std::size_t i = 0; i < bytes && !input.empty(); ++i) {
    value |= static_cast<std::size_t>(static_cast<unsigned char>(input.front())) << (8 * i);
    input.remove_prefix(1);
  }
  return value;
}

std::string storage_of(std::size_t size) {
  std::string storage(size, '\0');
  for (std::size_t i = 0; i < size; ++i) storage[i] = static_cast<char>(i * 37 % 64);
  return storage;
}

}  // namespace

std::string torch_image(std::string_view input) {
  Archive archive;
  archive.add("archive/byteorder", "little");
  archive.add("archive/version", "3\n");
  const std::size_t count = take_number(input, 1);
  for (std::size_t i = 0; i < count; ++i) {
    archive.add("archive/data/" + std::to_string(i), storage_of(take_number(input, 2)));
  }
  archive.add("archive/data.pkl", input);
  return std::move(archive).finish();
}

}  // namespace torchao_cpp::fuzz
