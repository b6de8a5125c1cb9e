// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/bpe.h"

#include <fmt/format.h>

#include <queue>
#include <unordered_set>

#include "io/quoted_name.h"
#include "models/tokenizer/json_fields.h"
#include "models/tokenizer/text.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Longer words are rarely seen twice, and the cache would only hold the text once more.
constexpr std::size_t kLongestCachedWord = 256;
constexpr std::size_t kMostCachedWords = 1 << 16;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
         static_cast<std::uint32_t>(right);
}

}  // namespace

BpeModel::BpeModel(TokenizerFile file, std::string_view where) {
  const Json& model = object_field(file.rest, "model", where);
  check_options(model, where);
  ignore_merges_ = bool_field(model, "ignore_merges", false, where);
  fuse_unk_ = bool_field(model, "fuse_unk", false, where);

  std::unordered_set<std::int32_t> ids;
  ids.reserve(file.vocab.size());
  vocab_.reserve(file.vocab.size());
  for (auto& [token, id] : file.vocab) {
    if (!ids.insert(id).second)
      throw tokenizer_error(
          where, fmt::format("the id {} of {} belongs to another token of 'model.vocab' as well",
                             id, quoted_name(token)));
    vocab_.emplace(std::move(token), id);
  }
  low_characters_.fill(-1);
  for (char32_t c = 0; c < low_characters_.size(); ++c) {
    std::string utf8;
    append_utf8(utf8, c);
    if (const auto id = token_to_id(utf8)) low_characters_[c] = *id;
  }
  if (const Json& unk = optional_field(model, "unk_token", where); !unk.is_null()) {
    const std::string token = string_field(model, "unk_token", where);
    unk_id_ = token_to_id(token);
    if (!unk_id_)
      throw tokenizer_error(
          where, fmt::format("'model.unk_token' {} is not in 'model.vocab'", quoted_name(token)));
  }
  add_merges(file, where);
}

void BpeModel::check_options(const Json& model, std::string_view where) const {
  const Json& type = optional_field(model, "type", where);
  if (type != "BPE") {
    // Files of tokenizers < 0.10 leave the type out.
    if (!type.is_null() || !model.contains("merges")) {
      throw UnsupportedError(fmt::format("{}: 'model.type' is {}; only BPE is supported", where,
                                         type.is_string() ? quoted_name(type.get<std::string>())
                                                          : std::string(json_type_name(type))));
    }
  }
  const Json& dropout = optional_field(model, "dropout", where);
  if (!dropout.is_null() && dropout != 0)
    throw UnsupportedError(
        fmt::format("{}: 'model.dropout' is set; merging at random is not supported", where));
  if (bool_field(model, "byte_fallback", false, where))
    throw UnsupportedError(
        fmt::format("{}: 'model.byte_fallback' is true; only byte-level BPE is supported", where));
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& affix = optional_field(model, name, where);
    if (!affix.is_null() && affix != "")
      throw UnsupportedError(
          fmt::format("{}: 'model.{}' is set; only byte-level BPE is supported", where, name));
  }
}

void BpeModel::add_merges(const TokenizerFile& file, std::string_view where) {
  merges_.reserve(file.merges.size());
  std::int32_t rank = 0;
  for (const auto& [left, right] : file.merges) {
    const std::string joined = left + right;
    for (const std::string* token : {&left, &right, &joined}) {
      if (!token_to_id(*token))
        throw tokenizer_error(
            where,
            fmt::format(
                "entry {} of 'model.merges' needs the token {}, which is not in 'model.vocab'",
                rank, quoted_name(*token)));
    }
    merges_[pair_key(*token_to_id(left), *token_to_id(right))] = {rank++, *token_to_id(joined)};
  }
}

std::optional<std::int32_t> BpeModel::token_to_id(std::string_view token) const {
  const auto it = vocab_.find(std::string(token));
  return it == vocab_.end() ? std::nullopt : std::optional(it->second);
}

const BpeModel::Merge* BpeModel::find_merge(std::int32_t left, std::int32_t right) const {
  const auto it = merges_.find(pair_key(left, right));
  return it == merges_.end() ? nullptr : &it->second;
}

std::optional<std::int32_t> BpeModel::character_id(char32_t value, std::string_view utf8) const {
  if (value >= low_characters_.size()) return token_to_id(utf8);
  const std::int32_t id = low_characters_[value];
  return id < 0 ? std::nullopt : std::optional(id);
}

std::vector<BpeModel::Symbol> BpeModel::symbols_of(std::string_view word) const {
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  bool last_is_unk = false;
  for (std::size_t i = 0; i < word.size();) {
    const CodePoint c = code_point_at(word, i);
    std::optional<std::int32_t> id = character_id(c.value, word.substr(i, c.length));
    i += c.length;
    const bool is_unk = !id;
    if (is_unk) id = unk_id_;
    // As in tokenizers: without an unk_token, an unknown character leaves no trace.
    if (!id || (is_unk && last_is_unk && fuse_unk_)) continue;
    last_is_unk = is_unk;
    const auto index = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({*id, index - 1, index + 1, false});
  }
  if (!symbols.empty()) symbols.back().next = -1;
  return symbols;
}

void BpeModel::merge(std::vector<Symbol>& symbols) const {
  struct Candidate {
    std::int32_t rank;
    std::int32_t position;
    std::int32_t id;
    // The queue gives its largest element; the lowest rank comes first, then the leftmost.
    bool operator<(const Candidate& other) const noexcept {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(storage));
  const auto at = [&](std::int32_t index) -> Symbol& {
    return symbols[static_cast<std::size_t>(index)];
  };
  const auto offer = [&](std::int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    if (const Merge* merge = find_merge(at(left).id, at(at(left).next).id))
      queue.push({merge->rank, left, merge->id});
  };
  for (std::int32_t i = 0; i + 1 < static_cast<std::int32_t>(symbols.size()); ++i) offer(i);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.position);
    if (left.is_merged_away || left.next < 0) continue;
    Symbol& right = at(left.next);
    // The neighbours may have changed since this was offered.
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->id != top.id) continue;
    left.id = top.id;
    right.is_merged_away = true;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = top.position;
    offer(left.previous);
    offer(top.position);
  }
}

void BpeModel::encode(std::string_view word, Cache& cache, std::vector<std::int32_t>& out) const {
  if (const auto known = cache.find(word); known != cache.end()) {
    out.insert(out.end(), known->second.begin(), known->second.end());
    return;
  }
  const std::size_t first = out.size();
  const std::optional<std::int32_t> whole = ignore_merges_ ? token_to_id(word) : std::nullopt;
  if (whole) {
    out.push_back(*whole);
  } else {
    std::vector<Symbol> symbols = symbols_of(word);
    merge(symbols);
    for (const Symbol& symbol : symbols) {
      if (!symbol.is_merged_away) out.push_back(symbol.id);
    }
  }
  if (word.size() <= kLongestCachedWord && cache.size() < kMostCachedWords) {
    cache.emplace(word, std::vector<std::int32_t>(out.begin() + static_cast<std::ptrdiff_t>(first),
                                                  out.end()));
  }
}

}  // namespace torchao_cpp
