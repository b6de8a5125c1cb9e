// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace torchao_cpp {

/// One code point of well-formed UTF-8 and how many bytes it takes.
struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;
};

/// The code point at `position` of well-formed UTF-8; `position` lies before the end.
CodePoint code_point_at(std::string_view text, std::size_t position) noexcept;

void append_utf8(std::string& out, char32_t value);

/// Length of the longest prefix of `bytes` that further bytes cannot change: everything but a
/// well-formed beginning of one character at the end (at most 3 bytes).
std::size_t settled_utf8_length(std::string_view bytes) noexcept;

bool is_utf8(std::string_view bytes) noexcept;

/// `bytes` with U+FFFD for every maximal broken part, as the Unicode standard (3.9) recommends and
/// Python and Rust do.
std::string replace_broken_utf8(std::string_view bytes);

/// Unicode's White_Space property.
bool is_white_space(char32_t value) noexcept;

/// A word character of UTS #18: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, joiners.
bool is_word_character(char32_t value) noexcept;

/// Unicode normal forms.
enum class NormalForm : std::uint8_t { kNFC, kNFD, kNFKC, kNFKD };

/// `text` (well-formed UTF-8) in a normal form. Linear in the length but for sorting runs of
/// combining marks.
std::string normalize(std::string_view text, NormalForm form);

/// GPT-2's byte-level alphabet: the printable character that stands for `byte`, as UTF-8.
void append_byte_level(std::string& out, std::uint8_t byte);

/// The byte that a character of the byte-level alphabet stands for, or -1.
int byte_of_character(char32_t value) noexcept;

/// The bytes a token stands for: its characters through the byte-level alphabet, or its own UTF-8
/// bytes when one of them is not in the alphabet. Source: tokenizers ByteLevel decoder.
std::string byte_level_decode(std::string_view token);

}  // namespace torchao_cpp
