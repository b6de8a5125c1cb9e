// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/pre_tokenizer.h"

namespace torchao_cpp {

/// A token that is recognised in the text before anything else is done to it.
struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool is_special = false;
  bool single_word = false;  ///< Only where no word character is next to it.
  bool lstrip = false;       ///< Takes the white space before it along.
  bool rstrip = false;       ///< Takes the white space behind it along.
  bool normalized = true;    ///< Looked for in the normalized text rather than in the raw one.
};

/// A part of a text: an added token, or text in between.
struct AddedTokenPart {
  std::optional<std::int32_t> id;
  std::string_view text;  ///< Set when there is no id; a view of the text that was cut.
};

/// Finds one set of strings in texts: leftmost, and of several there the longest. Immutable.
class TokenFinder {
 public:
  /// `content` may differ from the token's own (it is normalized for some).
  void add(const AddedToken& token, std::string_view content);
  bool empty() const noexcept { return tokens_.empty(); }
  /// Cuts well-formed UTF-8 at the tokens. Source: tokenizers AddedVocabulary::find_matches.
  std::vector<AddedTokenPart> split(std::string_view text) const;

 private:
  struct Match {
    std::size_t length = 0;
    std::size_t token = 0;
  };
  std::optional<Match> match_at(std::string_view text) const;

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using IndexOfContent = std::unordered_map<std::string, std::size_t, Hash, std::equal_to<>>;

  std::vector<AddedToken> tokens_;
  /// First byte -> length of the content, longest first -> content -> index in tokens_. A file may
  /// hold very many tokens, so none is looked for one by one.
  std::unordered_map<char, std::map<std::size_t, IndexOfContent, std::greater<>>> by_first_byte_;
};

/// The "added_tokens" of tokenizer.json. Immutable; safe from many threads.
class AddedTokens {
 public:
  /// Throws CheckpointError (kind "tokenizer") for malformed entries and ids that belong to another
  /// token.
  AddedTokens(const Json& json, const BpeModel& model, const Normalizer& normalizer,
              std::string_view where);

  const std::vector<AddedToken>& tokens() const noexcept { return tokens_; }
  std::optional<std::int32_t> token_to_id(std::string_view content) const;
  const TokenFinder& in_raw_text() const noexcept { return raw_; }
  const TokenFinder& in_normalized_text() const noexcept { return normalized_; }

 private:
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string, std::int32_t> ids_;
  TokenFinder raw_;
  TokenFinder normalized_;
};

}  // namespace torchao_cpp
