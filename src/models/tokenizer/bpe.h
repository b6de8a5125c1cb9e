// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "models/tokenizer/tokenizer_file.h"

namespace torchao_cpp {

/// The BPE model of tokenizer.json: vocabulary and merges. Immutable; safe from many threads.
class BpeModel {
 public:
  /// Throws CheckpointError (kind "tokenizer") for duplicate ids and merges whose tokens are
  /// missing, UnsupportedError for options that byte-level tokenizers do not use (dropout,
  /// byte_fallback, subword prefixes). `where` starts the messages.
  BpeModel(TokenizerFile file, std::string_view where);

  /// Words seen before, for one caller.
  using Cache = std::unordered_map<std::string_view, std::vector<std::int32_t>>;

  /// Appends the ids of one word. `cache` keeps views of `word`, which must outlive it.
  void encode(std::string_view word, Cache& cache, std::vector<std::int32_t>& out) const;

  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  const std::unordered_map<std::string, std::int32_t>& vocab() const noexcept { return vocab_; }

 private:
  struct Symbol {
    std::int32_t id = 0;
    std::int32_t previous = -1;
    std::int32_t next = -1;
    bool is_merged_away = false;
  };
  struct Merge {
    std::int32_t rank = 0;
    std::int32_t id = 0;
  };

  void check_options(const Json& model, std::string_view where) const;
  void add_merges(const TokenizerFile& file, std::string_view where);
  std::vector<Symbol> symbols_of(std::string_view word) const;
  void merge(std::vector<Symbol>& symbols) const;
  const Merge* find_merge(std::int32_t left, std::int32_t right) const;
  std::optional<std::int32_t> character_id(char32_t value, std::string_view utf8) const;

  std::unordered_map<std::string, std::int32_t> vocab_;
  std::unordered_map<std::uint64_t, Merge> merges_;
  /// Ids of the characters that the byte-level alphabet lies in; -1 where there is none.
  std::array<std::int32_t, 0x180> low_characters_{};
  std::optional<std::int32_t> unk_id_;
  bool fuse_unk_ = false;
  bool ignore_merges_ = false;
};

}  // namespace torchao_cpp
