// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "io/json_events.h"
#include "io/quoted_name.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::string_view kMetadataKey = "__metadata__";

[[noreturn]] void fail(std::string_view where, std::string_view kind, std::string_view message) {
  throw CheckpointError(fmt::format("{}: {}", where, message), std::string(kind));
}

/// {"__metadata__": {string: string}, name: {"dtype": .., "shape": [..], "data_offsets": [begin, end]}}
class HeaderEvents : public JsonEvents {
 public:
  SafetensorsHeader take() { return std::move(header_); }

 protected:
  bool on_open(bool is_object) override {
    if (depth() == 1) return is_object || refuse("st.header_invalid", "the header is an array; expected an object");
    if (depth() == 2) return is_object || wrong("an array; expected an object");
    if (in_metadata_) return refuse("st.header_invalid", fmt::format("__metadata__: {} is no string", quoted_name(field_)));
    if (is_object || field_ == "dtype" || depth() > 3) {
      return wrong(fmt::format("{} of the wrong type", quoted_name(field_)));
    }
    return true;
  }

  bool on_key(std::string key) override {
    if (depth() == 1) {
      name_ = std::move(key);
      in_metadata_ = name_ == kMetadataKey;
      entry_ = {};
      offsets_.clear();
      fields_ = 0;
      return true;
    }
    field_ = std::move(key);
    if (in_metadata_) return true;
    if (field_ != "dtype" && field_ != "shape" && field_ != "data_offsets") {
      return wrong(fmt::format("the field {}; expected dtype, shape and data_offsets alone", quoted_name(field_)));
    }
    ++fields_;
    return true;
  }

  bool on_scalar(JsonScalar value) override {
    switch (depth()) {
      case 0:
        return refuse("st.header_invalid", "the header is no object");
      case 1:
        return wrong("no object");
      case 2:
        return on_field(std::move(value));
      default:
        if (value.kind != JsonScalar::Kind::kUnsigned) {
          return wrong(fmt::format("a value in {} that is no unsigned 64-bit integer", quoted_name(field_)));
        }
        if (field_ == "data_offsets") {
          offsets_.push_back(value.number);
        } else {
          // A dimension over 2^63 wraps; as an unsigned factor it still overflows the size and is refused there.
          entry_.shape.push_back(static_cast<std::int64_t>(value.number));
        }
        return true;
    }
  }

  bool on_close() override {
    if (depth() != 2 || in_metadata_) return true;
    if (fields_ != 3) return wrong("not all of dtype, shape and data_offsets");
    if (offsets_.size() != 2) return wrong(fmt::format("{} data_offsets; expected 2", offsets_.size()));
    entry_.name = name_;
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.entries.push_back(std::move(entry_));
    return true;
  }

 private:
  bool wrong(std::string_view has) { return refuse("st.header_invalid", fmt::format("{} has {}", quoted_name(name_), has)); }

  bool on_field(JsonScalar value) {
    const bool is_string = value.kind == JsonScalar::Kind::kString;
    if (in_metadata_) {
      if (!is_string) return refuse("st.header_invalid", fmt::format("__metadata__: {} is no string", quoted_name(field_)));
      header_.metadata.emplace_back(std::move(field_), std::move(value.text));
      return true;
    }
    if (field_ != "dtype" || !is_string) return wrong(fmt::format("{} of the wrong type", quoted_name(field_)));
    entry_.dtype = safetensors_dtype(value.text);
    if (entry_.dtype == nullptr) {
      return refuse("st.unknown_dtype", fmt::format("{} has dtype {}, which safetensors does not define", quoted_name(name_),
                                                    quoted_name(value.text)));
    }
    return true;
  }

  SafetensorsHeader header_;
  SafetensorsEntry entry_;
  std::vector<std::uint64_t> offsets_;
  std::string name_;
  std::string field_;
  int fields_ = 0;
  bool in_metadata_ = false;
};

std::string describe(const SafetensorsEntry& e) {
  return fmt::format("{} ({} {}, data_offsets [{}, {}])", quoted_name(e.name), e.dtype->code, shape_to_string(e.shape), e.begin,
                     e.end);
}

void check_size(const SafetensorsEntry& e, std::uint64_t data_bytes, std::string_view where) {
  if (e.begin > e.end || e.end > data_bytes) {
    fail(where, "st.bad_offsets",
         fmt::format("{}: the range is not within the {} bytes of data; is the file cut short?", describe(e), data_bytes));
  }
  // Without the zero dimensions first: the others may overflow all the same.
  std::uint64_t bits = e.dtype->bits;
  bool is_empty = false;
  for (const std::int64_t d : e.shape) {
    if (d == 0) {
      is_empty = true;
    } else if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(d), &bits)) {
      fail(where, "st.overflow", fmt::format("{}: shape times dtype exceeds 64 bits", describe(e)));
    }
  }
  if (is_empty) bits = 0;
  if (bits % 8 != 0) {
    fail(where, "st.size_mismatch", fmt::format("{}: shape times dtype is {} bits, no whole number of bytes", describe(e), bits));
  }
  if (bits / 8 != e.end - e.begin) {
    fail(where, "st.size_mismatch", fmt::format("{}: the range has {} bytes; shape times dtype is {}", describe(e),
                                                e.end - e.begin, bits / 8));
  }
}

void check_tiling(const std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, std::string_view where) {
  std::vector<const SafetensorsEntry*> sorted;
  sorted.reserve(entries.size());
  for (const SafetensorsEntry& e : entries) sorted.push_back(&e);
  std::sort(sorted.begin(), sorted.end(), [](const SafetensorsEntry* a, const SafetensorsEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t at = 0;
  for (const SafetensorsEntry* e : sorted) {
    if (e->begin < at) fail(where, "st.overlap", fmt::format("{} begins before offset {}, where the tensor before it ends", describe(*e), at));
    if (e->begin > at) fail(where, "st.hole", fmt::format("{}: no tensor covers the {} bytes before it", describe(*e), e->begin - at));
    at = e->end;
  }
  if (at != data_bytes) {
    fail(where, "st.trailing_data", fmt::format("{} bytes follow the last tensor; expected none", data_bytes - at));
  }
}

std::string_view header_text(std::span<const std::byte> file, std::string_view where) {
  if (file.size() < kLengthBytes) {
    fail(where, "st.truncated", fmt::format("{} bytes; a safetensors file has at least 8", file.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  if (length > kMaxHeaderBytes) {
    fail(where, "st.header_too_large", fmt::format("the header's length is {} bytes; at most {} are read. Is this a safetensors file?",
                                                   length, kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    fail(where, "st.truncated", fmt::format("the header's length is {} bytes, but only {} follow", length, file.size() - kLengthBytes));
  }
  std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) fail(where, "st.header_invalid", "the header does not begin with '{'");
  // The padding; what is left must end the object, so that no other white space or text follows it.
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  if (!text.ends_with('}')) fail(where, "st.header_invalid", "the header does not end with '}' and spaces");
  return text;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where) {
  std::uint64_t length = 0;
  const std::string_view text = header_text(file, where);
  std::memcpy(&length, file.data(), kLengthBytes);
  HeaderEvents events;
  if (const auto problem = events.parse(text)) {
    const bool is_ours = problem->kind.starts_with("st.");
    const std::string kind = problem->kind == "duplicate_key" ? "st.duplicate_key" : "st.header_invalid";
    fail(where, is_ours ? problem->kind : kind, fmt::format("header: {}", problem->message));
  }
  SafetensorsHeader header = events.take();
  const std::uint64_t data_begin = kLengthBytes + length;
  const std::uint64_t data_bytes = file.size() - data_begin;
  for (const SafetensorsEntry& e : header.entries) check_size(e, data_bytes, where);
  check_tiling(header.entries, data_bytes, where);
  for (SafetensorsEntry& e : header.entries) {
    e.begin += data_begin;
    e.end += data_begin;
  }
  return header;
}

}  // namespace torchao_cpp
