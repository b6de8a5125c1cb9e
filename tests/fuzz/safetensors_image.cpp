// SPDX-License-Identifier: Apache-2.0
#include "fuzz/safetensors_image.h"

#include <cstring>

#include "base/json.h"
#include "io/safetensors_dtype.h"

namespace torchao_cpp::fuzz {
namespace {

constexpr std::string_view kDefaultContents = "\x01\x7f\x20\x3f\x00\x80\xc3\x3d\x55\x40\x9a\x3c";
constexpr std::string_view kMetadataKey = "__metadata__";

// The bytes of {"dtype": .., "shape": [..]}; nothing when it is malformed or larger than
// `max_bytes`.
std::optional<std::size_t> bytes_of(const Json& tensor, std::size_t max_bytes) {
  if (!tensor.is_object() || !tensor.contains("dtype") || !tensor.contains("shape"))
    return std::nullopt;
  if (!tensor["dtype"].is_string() || !tensor["shape"].is_array()) return std::nullopt;
  const SafetensorsDType* dtype = safetensors_dtype(tensor["dtype"].get_ref<const std::string&>());
  if (dtype == nullptr) return std::nullopt;
  std::uint64_t bits = dtype->bits;
  bool is_empty = false;
  for (const Json& d : tensor["shape"]) {
    if (!d.is_number_unsigned()) return std::nullopt;
    is_empty = is_empty || d == 0;
    if (d != 0 && __builtin_mul_overflow(bits, d.get<std::uint64_t>(), &bits)) return std::nullopt;
  }
  if (is_empty) return 0;
  return bits / 8 <= max_bytes ? std::optional(bits / 8) : std::nullopt;
}

void metadata_to_texts(Json& metadata) {
  if (!metadata.is_object()) return;
  for (auto& [key, value] : metadata.items()) {
    if (!value.is_string()) value = value.dump();
  }
}

}  // namespace

std::optional<std::string> safetensors_image(std::string_view json, std::string_view contents,
                                             std::size_t max_bytes) {
  Json header;
  if (try_parse_json(json, header) || !header.is_object()) return std::nullopt;
  std::size_t at = 0;
  for (auto& [key, value] : header.items()) {
    if (key == kMetadataKey) {
      metadata_to_texts(value);
      continue;
    }
    const auto bytes = bytes_of(value, max_bytes - at);
    if (!bytes) return std::nullopt;
    value["data_offsets"] = Json::array({at, at + *bytes});
    at += *bytes;
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += text;
  if (contents.empty()) contents = kDefaultContents;
  for (; at > contents.size(); at -= contents.size()) file += contents;
  return file.append(contents.substr(0, at));
}

}  // namespace torchao_cpp::fuzz
