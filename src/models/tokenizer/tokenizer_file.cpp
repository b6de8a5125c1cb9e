// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/tokenizer_file.h"

#include <fmt/format.h>

#include <fstream>
#include <system_error>

#include "io/json_events.h"
#include "io/quoted_name.h"
#include "models/tokenizer/json_fields.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

/// Keeps vocab and merges as lists, everything else as a tree.
class TokenizerFileReader : public JsonEvents {
 public:
  explicit TokenizerFileReader(TokenizerFile& file) : file_(file) {}

 protected:
  bool on_scalar(JsonScalar value) override {
    switch (list_) {
      case List::kVocab:
        return add_vocab(value);
      case List::kMerges:
        return add_merge_text(value);
      case List::kMergePair:
        if (value.kind != JsonScalar::Kind::kString)
          return refuse_merge("holds something other than strings");
        pair_.push_back(std::move(value.text));
        return pair_.size() <= 2 || refuse_merge("has more than two tokens");
      case List::kNone:
        return add(to_json(value)) != nullptr;
    }
    return false;
  }

  bool on_open(bool is_object) override {
    if (list_ == List::kMerges && !is_object) {
      list_ = List::kMergePair;
      pair_.clear();
      return true;
    }
    if (list_ != List::kNone)
      return refuse("tokenizer", "'model.vocab' or 'model.merges' holds a value that is neither");
    if (depth() == 3 && path_is_model_) {
      if (is_object && keys_.back() == "vocab") return enter(List::kVocab);
      if (!is_object && keys_.back() == "merges") return enter(List::kMerges);
    }
    Json* child = add(is_object ? Json::object() : Json::array());
    if (child == nullptr) return false;
    open_.push_back(child);
    if (depth() == 2) path_is_model_ = is_object && keys_.back() == "model";
    keys_.emplace_back();
    return true;
  }

  bool on_key(std::string key) override {
    if (list_ == List::kNone && open_.back()->size() >= kMostMembers) {
      return refuse(
          "tokenizer",
          fmt::format("an object other than 'model.vocab' has more than {} members", kMostMembers));
    }
    keys_.back() = std::move(key);
    return true;
  }

  bool on_close() override {
    if (list_ == List::kMergePair) {
      list_ = List::kMerges;
      if (pair_.size() != 2) return refuse_merge(fmt::format("has {} tokens", pair_.size()));
      file_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
    } else if (list_ != List::kNone) {
      list_ = List::kNone;
      keys_.pop_back();
    } else {
      open_.pop_back();
      keys_.pop_back();
    }
    return true;
  }

 private:
  enum class List { kNone, kVocab, kMerges, kMergePair };
  // Objects of the tree look keys up one by one.
  static constexpr std::size_t kMostMembers = 4096;

  bool enter(List list) {
    list_ = list;
    keys_.emplace_back();
    return true;
  }

  bool add_vocab(const JsonScalar& value) {
    if (value.kind != JsonScalar::Kind::kUnsigned ||
        value.number > static_cast<std::uint64_t>(kLargestTokenId)) {
      return refuse("tokenizer",
                    fmt::format("the id of {} in 'model.vocab' is no integer from 0 to {}",
                                quoted_name(keys_.back()), kLargestTokenId));
    }
    file_.vocab.emplace_back(std::move(keys_.back()), static_cast<std::int32_t>(value.number));
    return true;
  }

  // The form up to tokenizers 0.19; files converted from merges.txt keep its "#version" line.
  bool add_merge_text(const JsonScalar& value) {
    if (value.kind != JsonScalar::Kind::kString)
      return refuse_merge("is neither a string nor a pair");
    if (value.text.starts_with("#version")) return true;
    const std::size_t space = value.text.find(' ');
    if (space == std::string::npos || value.text.find(' ', space + 1) != std::string::npos) {
      return refuse_merge(fmt::format("is {}", quoted_name(value.text)));
    }
    file_.merges.emplace_back(value.text.substr(0, space), value.text.substr(space + 1));
    return true;
  }

  bool refuse_merge(std::string_view what) {
    return refuse("tokenizer", fmt::format("entry {} of 'model.merges' {}; expected two tokens",
                                           file_.merges.size(), what));
  }

  static Json to_json(JsonScalar& value) {
    switch (value.kind) {
      case JsonScalar::Kind::kBoolean:
        return value.number != 0;
      case JsonScalar::Kind::kUnsigned:
        return value.number;
      case JsonScalar::Kind::kNegative:
        return -1;
      case JsonScalar::Kind::kFloat:
        return 0.5;
      case JsonScalar::Kind::kString:
        return std::move(value.text);
      case JsonScalar::Kind::kNull:
        break;
    }
    return nullptr;
  }

  // Puts a value where the events stand; the pointer holds until its parent closes.
  Json* add(Json value) {
    if (open_.empty()) {
      file_.rest = std::move(value);
      return &file_.rest;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[keys_.back()] = std::move(value));
  }

  TokenizerFile& file_;
  std::vector<Json*> open_;
  std::vector<std::string> keys_;  ///< The current key of every open object; empty for arrays.
  bool path_is_model_ = false;
  List list_ = List::kNone;
  std::vector<std::string> pair_;
};

}  // namespace

std::string read_small_file(const std::filesystem::path& path, std::size_t max_bytes) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status))
    throw IoError(fmt::format("{}: there is no such file", path.string()));
  if (!std::filesystem::is_regular_file(status))
    throw IoError(fmt::format("{}: is no regular file", path.string()));
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw IoError(fmt::format("{}: cannot be read: {}", path.string(), error.message()));
  if (size > max_bytes) {
    throw tokenizer_error(
        path.string(), fmt::format("the file has {} bytes; at most {} are read", size, max_bytes));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file || !file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw IoError(fmt::format("{}: cannot be opened for reading", path.string()));
  }
  return text;
}

TokenizerFile TokenizerFile::read(const std::filesystem::path& path) {
  const std::string text = read_small_file(path, std::size_t{256} << 20);
  TokenizerFile file;
  TokenizerFileReader reader(file);
  if (const auto problem = reader.parse(text))
    throw tokenizer_error(path.string(), problem->message);
  if (!file.rest.is_object())
    throw tokenizer_error(path.string(),
                          fmt::format("is {}; expected a JSON object", json_type_name(file.rest)));
  return file;
}

}  // namespace torchao_cpp
