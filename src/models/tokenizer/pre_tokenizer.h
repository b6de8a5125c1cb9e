// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"
#include "models/tokenizer/pattern.h"
#include "models/tokenizer/text.h"

namespace torchao_cpp {

/// The "normalizer" of tokenizer.json: null, NFC, NFD, NFKC, NFKD or a Sequence of them.
class Normalizer {
 public:
  Normalizer() = default;
  /// Throws UnsupportedError for another type, CheckpointError for a malformed one; `where` starts
  /// the message.
  Normalizer(const Json& json, std::string_view where);

  bool is_identity() const noexcept { return forms_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  void add(const Json& json, std::string_view where);
  std::vector<NormalForm> forms_;
};

/// A text and the parts of it that are encoded one by one.
struct TextPieces {
  std::string text;
  std::vector<std::pair<std::size_t, std::size_t>> ranges;  ///< Not empty, in order.
};

/// What a Split does with the parts that match.
enum class SplitBehavior : std::uint8_t {
  kRemoved,
  kIsolated,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};

/// The "pre_tokenizer" of tokenizer.json: null, Split, ByteLevel or a Sequence of them. Immutable;
/// safe from many threads.
class PreTokenizer {
 public:
  PreTokenizer() = default;
  /// Throws as Normalizer does.
  PreTokenizer(const Json& json, std::string_view where);

  /// Cuts well-formed UTF-8 into the pieces that the model encodes.
  TextPieces apply(std::string text) const;

 private:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior = SplitBehavior::kIsolated;
    bool invert = false;
  };
  struct ByteLevel {
    bool add_prefix_space = true;
    bool use_regex = true;
    Pattern pattern;  ///< GPT-2's
  };

  void add(const Json& json, std::string_view where);
  static void apply_split(const Split& split, TextPieces& pieces);
  static void apply_byte_level(const ByteLevel& step, TextPieces& pieces);

  std::vector<std::variant<Split, ByteLevel>> steps_;
};

}  // namespace torchao_cpp
