// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <new>
#include <vector>

namespace torchao_cpp {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

/// What the bytes at the start of `bytes` are.
struct Sequence {
  std::size_t length = 0;  ///< Bytes looked at: a whole character, or a maximal broken part.
  bool is_whole = false;
  bool is_cut_off = false;  ///< A well-formed beginning that ends with the text.
};

// Table 3-7 of the Unicode standard: the second byte of some leads is restricted.
Sequence first_sequence(std::string_view bytes) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xC2 || lead > 0xF4) return {1, false, false};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = 0x80;
  unsigned high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (std::size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, false};
}

struct ByteLevelTables {
  std::array<char32_t, 256> character{};
  std::array<std::int16_t, 0x144> byte{};

  constexpr ByteLevelTables() {
    byte.fill(-1);
    char32_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool is_printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = is_printable ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = static_cast<std::int16_t>(b);
    }
  }
};

constexpr ByteLevelTables kByteLevel;

bool is_ascii(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

int combining_class(utf8proc_int32_t c) noexcept {
  return utf8proc_get_property(c)->combining_class;
}

// Canonical order: marks between two starters, sorted by class and else as they were.
void sort_marks(std::vector<utf8proc_int32_t>& text) {
  const auto is_mark = [](utf8proc_int32_t c) { return combining_class(c) != 0; };
  for (auto it = text.begin(); it != text.end();) {
    const auto begin = std::find_if(it, text.end(), is_mark);
    const auto end = std::find_if_not(begin, text.end(), is_mark);
    std::stable_sort(begin, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return combining_class(a) < combining_class(b);
    });
    it = end;
  }
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t position) noexcept {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[position + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {((lead & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {((lead & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {
      ((lead & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F),
      4};
}

void append_utf8(std::string& out, char32_t value) {
  const auto put = [&](char32_t byte) {
    out += static_cast<char>(static_cast<unsigned char>(byte));
  };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | (value >> 6));
    put(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    put(0xE0 | (value >> 12));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  } else {
    put(0xF0 | (value >> 18));
    put(0x80 | ((value >> 12) & 0x3F));
    put(0x80 | ((value >> 6) & 0x3F));
    put(0x80 | (value & 0x3F));
  }
}

std::size_t settled_utf8_length(std::string_view bytes) noexcept {
  // A cut-off character is at most 3 bytes; its lead byte is the last one that is no continuation.
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const bool is_cut_off = first_sequence(bytes.substr(bytes.size() - back)).is_cut_off;
    const bool covers_rest = first_sequence(bytes.substr(bytes.size() - back)).length == back;
    return is_cut_off && covers_rest ? bytes.size() - back : bytes.size();
  }
  return bytes.size();
}

bool is_utf8(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const Sequence sequence = first_sequence(bytes);
    if (!sequence.is_whole) return false;
    bytes.remove_prefix(sequence.length);
  }
  return true;
}

std::string replace_broken_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Sequence sequence = first_sequence(bytes);
    if (sequence.is_whole) {
      out += bytes.substr(0, sequence.length);
    } else {
      append_utf8(out, kReplacement);
    }
    bytes.remove_prefix(sequence.length);
  }
  return out;
}

bool is_white_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_word_character(char32_t c) noexcept {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      // Circled and squared Latin letters are Alphabetic though their category is So.
      return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
             (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
             (c >= 0x1F170 && c <= 0x1F189);
  }
}

std::string normalize(std::string_view text, NormalForm form) {
  if (is_ascii(text)) return std::string(text);
  const bool is_compatible = form == NormalForm::kNFKC || form == NormalForm::kNFKD;
  const bool composes = form == NormalForm::kNFC || form == NormalForm::kNFKC;
  const auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | (is_compatible ? UTF8PROC_COMPAT : 0) |
                                     (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE));
  // Decomposed here rather than by utf8proc_map, whose sorting is quadratic in a run of marks.
  std::vector<utf8proc_int32_t> characters;
  characters.reserve(text.size());
  constexpr utf8proc_ssize_t kLongest = 32;
  std::array<utf8proc_int32_t, kLongest> decomposed{};
  for (std::size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c.value), decomposed.data(), kLongest,
        static_cast<utf8proc_option_t>(options | UTF8PROC_DECOMPOSE), &boundary);
    if (count < 1 || count > kLongest) {
      characters.push_back(static_cast<utf8proc_int32_t>(c.value));
    } else {
      characters.insert(characters.end(), decomposed.begin(), decomposed.begin() + count);
    }
    i += c.length;
  }
  sort_marks(characters);
  std::size_t count = characters.size();
  if (composes) {
    const auto composed =
        utf8proc_normalize_utf32(characters.data(), static_cast<utf8proc_ssize_t>(count), options);
    if (composed >= 0) count = static_cast<std::size_t>(composed);
  }
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < count; ++i) append_utf8(out, static_cast<char32_t>(characters[i]));
  return out;
}

void append_byte_level(std::string& out, std::uint8_t byte) {
  append_utf8(out, kByteLevel.character[byte]);
}

int byte_of_character(char32_t value) noexcept {
  return value < kByteLevel.byte.size() ? kByteLevel.byte[value] : -1;
}

std::string byte_level_decode(std::string_view token) {
  std::string out;
  for (std::size_t i = 0; i < token.size();) {
    const CodePoint c = code_point_at(token, i);
    const int byte = byte_of_character(c.value);
    if (byte < 0) return std::string(token);
    out += static_cast<char>(static_cast<unsigned char>(byte));
    i += c.length;
  }
  return out;
}

}  // namespace torchao_cpp
