// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "models/tokenizer/json_fields.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Real files have at most four. Each step of a pre-tokenizer holds a compiled pattern, and each
// form of a normalizer is applied to every added token.
constexpr std::size_t kMostSteps = 64;

void check_count(std::size_t count, std::string_view where) {
  if (count < kMostSteps) return;
  throw UnsupportedError(
      fmt::format("{}: has more than {} steps, which is not supported", where, kMostSteps));
}

template <typename T>
using NameTable = std::array<std::pair<std::string_view, T>, 5>;

constexpr std::array<std::pair<std::string_view, NormalForm>, 4> kForms{
    {{"NFC", NormalForm::kNFC},
     {"NFD", NormalForm::kNFD},
     {"NFKC", NormalForm::kNFKC},
     {"NFKD", NormalForm::kNFKD}}};

constexpr NameTable<SplitBehavior> kBehaviors{
    {{"Removed", SplitBehavior::kRemoved},
     {"Isolated", SplitBehavior::kIsolated},
     {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
     {"MergedWithNext", SplitBehavior::kMergedWithNext},
     {"Contiguous", SplitBehavior::kContiguous}}};

template <typename Table>
auto find_name(const Table& table, std::string_view name) {
  const auto it =
      std::find_if(table.begin(), table.end(), [&](const auto& row) { return row.first == name; });
  using Value = decltype(it->second);
  return it == table.end() ? std::nullopt : std::optional<std::remove_const_t<Value>>(it->second);
}

std::vector<PatternPart> merge_with_previous(const std::vector<PatternPart>& parts) {
  std::vector<PatternPart> out;
  bool was_match = false;
  for (const PatternPart& part : parts) {
    if (part.is_match && !was_match && !out.empty()) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
    was_match = part.is_match;
  }
  return out;
}

std::vector<PatternPart> merge_with_next(const std::vector<PatternPart>& parts) {
  std::vector<PatternPart> out;
  bool was_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->is_match && !was_match && !out.empty()) {
      out.back().begin = part->begin;
    } else {
      out.push_back(*part);
    }
    was_match = part->is_match;
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::vector<PatternPart> merge_neighbours(const std::vector<PatternPart>& parts) {
  std::vector<PatternPart> out;
  bool was_match = false;
  for (const PatternPart& part : parts) {
    if (part.is_match == was_match && !out.empty()) {
      out.back().end = part.end;
    } else {
      out.push_back(part);
    }
    was_match = part.is_match;
  }
  return out;
}

std::vector<PatternPart> arrange(std::vector<PatternPart> parts, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const PatternPart& part) { return part.is_match; });
      return parts;
    case SplitBehavior::kIsolated:
      return parts;
    case SplitBehavior::kMergedWithPrevious:
      return merge_with_previous(parts);
    case SplitBehavior::kMergedWithNext:
      return merge_with_next(parts);
    case SplitBehavior::kContiguous:
      return merge_neighbours(parts);
  }
  return parts;
}

}  // namespace

Normalizer::Normalizer(const Json& json, std::string_view where) {
  if (!json.is_null()) add(json, where);
}

void Normalizer::add(const Json& json, std::string_view where) {
  const std::string type = string_field(json, "type", where);
  if (type == "Sequence") {
    for (const Json& child : array_field(json, "normalizers", where)) add(child, where);
    return;
  }
  const auto form = find_name(kForms, type);
  if (!form)
    throw UnsupportedError(
        fmt::format("{}: the type '{}' is not supported; expected NFC, NFD, NFKC, NFKD or Sequence",
                    where, type));
  check_count(forms_.size(), where);
  forms_.push_back(*form);
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const NormalForm form : forms_) out = normalize(out, form);
  return out;
}

PreTokenizer::PreTokenizer(const Json& json, std::string_view where) {
  if (!json.is_null()) add(json, where);
}

void PreTokenizer::add(const Json& json, std::string_view where) {
  const std::string type = string_field(json, "type", where);
  if (type == "Sequence") {
    for (const Json& child : array_field(json, "pretokenizers", where)) add(child, where);
    return;
  }
  check_count(steps_.size(), where);
  if (type == "ByteLevel") {
    // The characters of a byte-level text are bytes again to another one: each would double the
    // text.
    if (std::any_of(steps_.begin(), steps_.end(),
                    [](const auto& step) { return std::holds_alternative<ByteLevel>(step); }))
      throw UnsupportedError(fmt::format("{}: a second ByteLevel is not supported", where));
    steps_.emplace_back(ByteLevel{bool_field(json, "add_prefix_space", true, where),
                                  bool_field(json, "use_regex", true, where),
                                  Pattern::regex(kGpt2Pattern, where)});
  } else if (type == "Split") {
    const Json& pattern = object_field(json, "pattern", where);
    const auto behavior = find_name(kBehaviors, string_field(json, "behavior", where));
    if (!behavior)
      throw tokenizer_error(where,
                            "the behavior of a Split is unknown; expected Isolated, Removed, "
                            "MergedWithPrevious, MergedWithNext or Contiguous");
    const bool is_regex = pattern.contains("Regex");
    const std::string text = string_field(pattern, is_regex ? "Regex" : "String", where);
    steps_.emplace_back(Split{is_regex ? Pattern::regex(text, where) : Pattern::literal(text),
                              *behavior, bool_field(json, "invert", false, where)});
  } else {
    throw UnsupportedError(fmt::format(
        "{}: the type '{}' is not supported; expected Split, ByteLevel or Sequence", where, type));
  }
}

TextPieces PreTokenizer::apply(std::string text) const {
  TextPieces pieces{std::move(text), {}};
  if (!pieces.text.empty()) pieces.ranges.emplace_back(0, pieces.text.size());
  for (const auto& step : steps_) {
    if (const auto* split = std::get_if<Split>(&step)) {
      apply_split(*split, pieces);
    } else {
      apply_byte_level(std::get<ByteLevel>(step), pieces);
    }
  }
  return pieces;
}

void PreTokenizer::apply_split(const Split& split, TextPieces& pieces) {
  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (const auto& [begin, end] : pieces.ranges) {
    auto parts =
        split.pattern.find_matches(std::string_view(pieces.text).substr(begin, end - begin));
    if (split.invert)
      std::for_each(parts.begin(), parts.end(),
                    [](PatternPart& part) { part.is_match = !part.is_match; });
    for (const PatternPart& part : arrange(std::move(parts), split.behavior)) {
      if (part.begin < part.end) ranges.emplace_back(begin + part.begin, begin + part.end);
    }
  }
  pieces.ranges = std::move(ranges);
}

void PreTokenizer::apply_byte_level(const ByteLevel& step, TextPieces& pieces) {
  if (step.add_prefix_space) {
    TextPieces spaced;
    for (const auto& [begin, end] : pieces.ranges) {
      const std::size_t start = spaced.text.size();
      if (pieces.text[begin] != ' ') spaced.text += ' ';
      spaced.text.append(pieces.text, begin, end - begin);
      spaced.ranges.emplace_back(start, spaced.text.size());
    }
    pieces = std::move(spaced);
  }
  if (step.use_regex) apply_split({step.pattern, SplitBehavior::kIsolated, false}, pieces);
  TextPieces mapped;
  mapped.text.reserve(pieces.text.size() + pieces.text.size() / 4);
  mapped.ranges.reserve(pieces.ranges.size());
  for (const auto& [begin, end] : pieces.ranges) {
    const std::size_t start = mapped.text.size();
    for (std::size_t i = begin; i < end; ++i)
      append_byte_level(mapped.text, static_cast<std::uint8_t>(pieces.text[i]));
    mapped.ranges.emplace_back(start, mapped.text.size());
  }
  pieces = std::move(mapped);
}

}  // namespace torchao_cpp
