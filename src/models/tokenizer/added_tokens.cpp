// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/quoted_name.h"
#include "models/tokenizer/json_fields.h"
#include "models/tokenizer/text.h"

namespace torchao_cpp {
namespace {

// Real ones are below 100 bytes; a limit keeps looking for them linear.
constexpr std::size_t kLongestAddedToken = 4096;

CodePoint last_code_point(std::string_view text) {
  std::size_t start = text.size() - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
  return code_point_at(text, start);
}

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word_character(last_code_point(text).value);
}
bool starts_with_word(std::string_view text) {
  return !text.empty() && is_word_character(code_point_at(text, 0).value);
}

std::size_t without_trailing_space(std::string_view text) {
  while (!text.empty() && is_white_space(last_code_point(text).value))
    text.remove_suffix(last_code_point(text).length);
  return text.size();
}

std::size_t leading_space(std::string_view text) {
  std::size_t length = 0;
  while (length < text.size() && is_white_space(code_point_at(text, length).value))
    length += code_point_at(text, length).length;
  return length;
}

AddedToken read_token(const Json& json, std::string_view where) {
  AddedToken token;
  token.content = string_field(json, "content", where);
  const Json& id = optional_field(json, "id", where);
  if (!id.is_number_unsigned() ||
      id.get<std::uint64_t>() > static_cast<std::uint64_t>(kLargestTokenId)) {
    throw tokenizer_error(where,
                          fmt::format("the id of the added token {} is no integer from 0 to {}",
                                      quoted_name(token.content), kLargestTokenId));
  }
  token.id = id.get<std::int32_t>();
  token.is_special = bool_field(json, "special", false, where);
  token.single_word = bool_field(json, "single_word", false, where);
  token.lstrip = bool_field(json, "lstrip", false, where);
  token.rstrip = bool_field(json, "rstrip", false, where);
  token.normalized = bool_field(json, "normalized", !token.is_special, where);
  if (token.content.size() > kLongestAddedToken) {
    throw tokenizer_error(where, fmt::format("an added token of {} bytes; at most {} are accepted",
                                             token.content.size(), kLongestAddedToken));
  }
  return token;
}

}  // namespace

void TokenFinder::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  // Contents that normalization makes equal belong to the first token.
  by_first_byte_[content.front()][content.size()].emplace(content, tokens_.size());
  tokens_.push_back(token);
}

std::optional<TokenFinder::Match> TokenFinder::match_at(std::string_view text) const {
  const auto row = by_first_byte_.find(text.front());
  if (row == by_first_byte_.end()) return std::nullopt;
  for (const auto& [length, index_of_content] : row->second) {
    const auto found = index_of_content.find(text.substr(0, length));
    if (found != index_of_content.end()) return Match{length, found->second};
  }
  return std::nullopt;
}

std::vector<AddedTokenPart> TokenFinder::split(std::string_view text) const {
  std::vector<AddedTokenPart> parts;
  std::size_t covered = 0;
  for (std::size_t at = 0; !tokens_.empty() && at < text.size();) {
    const auto match = match_at(text.substr(at));
    if (!match) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[match->token];
    std::size_t start = at;
    std::size_t stop = at + match->length;
    at = stop;
    if (token.single_word &&
        (ends_with_word(text.substr(0, start)) || starts_with_word(text.substr(stop))))
      continue;
    if (token.lstrip) start = std::max(without_trailing_space(text.substr(0, start)), covered);
    if (token.rstrip) stop += leading_space(text.substr(stop));
    if (covered < start) parts.push_back({std::nullopt, text.substr(covered, start - covered)});
    parts.push_back({token.id, {}});
    covered = std::max(covered, stop);
  }
  if (covered < text.size()) parts.push_back({std::nullopt, text.substr(covered)});
  return parts;
}

AddedTokens::AddedTokens(const Json& json, const BpeModel& model, const Normalizer& normalizer,
                         std::string_view where) {
  if (json.is_null()) return;
  if (!json.is_array())
    throw tokenizer_error(
        where, fmt::format("'added_tokens' is {}; expected an array", json_type_name(json)));
  std::unordered_map<std::int32_t, std::string_view> taken;
  taken.reserve(model.vocab().size());
  for (const auto& [token, id] : model.vocab()) taken.emplace(id, token);
  tokens_.reserve(json.size());  // `taken` views their content
  for (const Json& entry : json) {
    AddedToken token = read_token(entry, where);
    if (token.content.empty()) continue;
    const auto known = model.token_to_id(token.content);
    if (known && *known != token.id) {
      throw tokenizer_error(
          where, fmt::format("the added token {} has the id {}, but 'model.vocab' gives it {}",
                             quoted_name(token.content), token.id, *known));
    }
    const std::int32_t id = token.id;
    if (!ids_.emplace(token.content, id).second) {
      throw tokenizer_error(
          where, fmt::format("the added token {} occurs twice", quoted_name(token.content)));
    }
    tokens_.push_back(std::move(token));
    const AddedToken& added = tokens_.back();
    if (const auto [owner, is_new] = taken.emplace(id, added.content);
        !is_new && owner->second != added.content) {
      throw tokenizer_error(
          where, fmt::format("the added token {} has the id {} of the token {}",
                             quoted_name(added.content), id, quoted_name(owner->second)));
    }
    if (added.normalized) {
      normalized_.add(added, normalizer.apply(added.content));
    } else {
      raw_.add(added, added.content);
    }
  }
}

std::optional<std::int32_t> AddedTokens::token_to_id(std::string_view content) const {
  const auto it = ids_.find(std::string(content));
  return it == ids_.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace torchao_cpp
