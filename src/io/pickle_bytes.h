// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "torchao_cpp/error.h"

namespace torchao_cpp {

/// Opcodes of pickle protocol 2 that torch.save writes.
enum PickleOpcode : unsigned char {
  kOpMark = '(',
  kOpStop = '.',
  kOpBinInt = 'J',
  kOpBinInt1 = 'K',
  kOpBinInt2 = 'M',
  kOpNone = 'N',
  kOpBinPersId = 'Q',
  kOpReduce = 'R',
  kOpShortBinString = 'U',
  kOpBinUnicode = 'X',
  kOpAppend = 'a',
  kOpBuild = 'b',
  kOpGlobal = 'c',
  kOpAppends = 'e',
  kOpBinGet = 'h',
  kOpLongBinGet = 'j',
  kOpBinPut = 'q',
  kOpLongBinPut = 'r',
  kOpSetItem = 's',
  kOpTuple = 't',
  kOpSetItems = 'u',
  kOpEmptyDict = '}',
  kOpEmptyList = ']',
  kOpEmptyTuple = ')',
  kOpBinFloat = 'G',
  kOpProto = 0x80,
  kOpNewObj = 0x81,
  kOpTuple1 = 0x85,
  kOpTuple2 = 0x86,
  kOpTuple3 = 0x87,
  kOpNewTrue = 0x88,
  kOpNewFalse = 0x89,
  kOpLong1 = 0x8a,
};

/// The bytes of a pickle, taken from front to back. Everything throws CheckpointError
/// pickle.malformed past the end.
class PickleBytes {
 public:
  PickleBytes(std::span<const std::byte> bytes, std::string_view where)
      : bytes_(bytes), where_(where) {}

  std::size_t size() const noexcept { return bytes_.size(); }
  bool at_end() const noexcept { return at_ == bytes_.size(); }

  std::span<const std::byte> take(std::size_t size) {
    if (size > bytes_.size() - at_) fail("pickle.malformed", "ends inside a value");
    const std::span<const std::byte> out = bytes_.subspan(at_, size);
    at_ += size;
    return out;
  }

  /// A little-endian number.
  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  /// Up to the next line feed, which is taken too.
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_,
                                bytes_.size() - at_);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) fail("pickle.malformed", "ends inside a name");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  /// Throws CheckpointError "FILE: data.pkl message (before byte N)".
  [[noreturn]] void fail(std::string_view kind, std::string_view message) const {
    throw CheckpointError(fmt::format("{}: data.pkl {} (before byte {})", where_, message, at_),
                          std::string(kind));
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view where_;
  std::size_t at_ = 0;
};

}  // namespace torchao_cpp
