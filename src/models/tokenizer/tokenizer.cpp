// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <unordered_set>

#include "models/tokenizer/added_tokens.h"
#include "models/tokenizer/bpe.h"
#include "models/tokenizer/chat_template.h"
#include "models/tokenizer/json_fields.h"
#include "models/tokenizer/pre_tokenizer.h"
#include "models/tokenizer/text.h"
#include "models/tokenizer/tokenizer_file.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

std::filesystem::path tokenizer_path(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error) ? path / "tokenizer.json" : path;
}

// Post-processors add special tokens and move offsets; neither is asked for here.
void check_post_processor(const Json& json, std::string_view where) {
  if (json.is_null()) return;
  const std::string type = string_field(json, "type", where);
  if (type == "Sequence") {
    for (const Json& child : array_field(json, "processors", where))
      check_post_processor(child, where);
  } else if (type != "ByteLevel" && type != "TemplateProcessing") {
    throw UnsupportedError(fmt::format(
        "{}: the type '{}' is not supported; expected ByteLevel, TemplateProcessing or Sequence",
        where, type));
  }
}

void check_decoder(const Json& json, std::string_view where) {
  if (json.is_null())
    throw UnsupportedError(fmt::format("{}: there is none; expected ByteLevel", where));
  const std::string type = string_field(json, "type", where);
  if (type == "Sequence") {
    const Json& decoders = array_field(json, "decoders", where);
    if (decoders.size() != 1)
      throw UnsupportedError(fmt::format("{}: a Sequence of {} decoders; expected ByteLevel alone",
                                         where, decoders.size()));
    check_decoder(decoders.front(), where);
  } else if (type != "ByteLevel") {
    throw UnsupportedError(
        fmt::format("{}: the type '{}' is not supported; expected ByteLevel", where, type));
  }
}

}  // namespace

struct Tokenizer::Impl {
  /// Bytes of one id. Ids without a token stand in no row.
  struct Token {
    std::string bytes;
    bool is_special = false;
  };

  Impl(const std::filesystem::path& file_path, TokenizerFile file)
      : directory(file_path.parent_path()),
        where(file_path.string()),
        normalizer(optional_field(file.rest, "normalizer", where), where + ": normalizer"),
        pre_tokenizer(optional_field(file.rest, "pre_tokenizer", where), where + ": pre_tokenizer"),
        rest(file.rest),
        model(std::move(file), where),
        added(optional_field(rest, "added_tokens", where), model, normalizer, where) {
    check_post_processor(optional_field(rest, "post_processor", where), where + ": post_processor");
    check_decoder(optional_field(rest, "decoder", where), where + ": decoder");
    rest = nullptr;
    make_tokens();
  }

  void make_tokens() {
    tokens.reserve(model.vocab().size() + added.tokens().size());
    for (const auto& [token, id] : model.vocab()) set_token(id, {byte_level_decode(token), false});
    for (const AddedToken& token : added.tokens()) {
      // As in tokenizers: what was looked for in the normalized text also comes back normalized.
      const std::string content =
          token.normalized ? normalizer.apply(token.content) : token.content;
      set_token(token.id, {byte_level_decode(content), token.is_special});
    }
  }

  void set_token(std::int32_t id, Token token) {
    const auto at = static_cast<std::size_t>(id);
    if (at >= index_of_id.size()) index_of_id.resize(at + 1, -1);
    index_of_id[at] = static_cast<std::int32_t>(tokens.size());
    tokens.push_back(std::move(token));
  }

  const Token* find(std::int32_t id) const noexcept {
    if (id < 0 || static_cast<std::size_t>(id) >= index_of_id.size()) return nullptr;
    const std::int32_t index = index_of_id[static_cast<std::size_t>(id)];
    return index < 0 ? nullptr : &tokens[static_cast<std::size_t>(index)];
  }

  void encode_text(std::string text, std::vector<std::int32_t>& out) const {
    const TextPieces pieces = pre_tokenizer.apply(std::move(text));
    BpeModel::Cache cache;
    for (const auto& [begin, end] : pieces.ranges)
      model.encode(std::string_view(pieces.text).substr(begin, end - begin), cache, out);
  }

  std::filesystem::path directory;
  std::string where;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  Json rest;  ///< Dropped when everything is built.
  BpeModel model;
  AddedTokens added;
  std::vector<Token> tokens;
  std::vector<std::int32_t> index_of_id;
};

Tokenizer::Tokenizer(const std::filesystem::path& path)
    : impl_(std::make_unique<Impl>(tokenizer_path(path),
                                   TokenizerFile::read(tokenizer_path(path)))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::string repaired;
  if (!is_utf8(text)) {
    repaired = replace_broken_utf8(text);
    text = repaired;
  }
  std::vector<std::int32_t> out;
  for (const AddedTokenPart& raw : impl_->added.in_raw_text().split(text)) {
    if (raw.id) {
      out.push_back(*raw.id);
      continue;
    }
    const std::string normalized = impl_->normalizer.apply(raw.text);
    for (const AddedTokenPart& part : impl_->added.in_normalized_text().split(normalized)) {
      if (part.id) {
        out.push_back(*part.id);
      } else {
        impl_->encode_text(std::string(part.text), out);
      }
    }
  }
  return out;
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const std::int32_t id : ids) {
    const Impl::Token* token = impl_->find(id);
    if (token == nullptr)
      throw Error(
          fmt::format("token id {} is in no vocabulary; expected 0 to {}", id, vocab_size() - 1),
          "id_out_of_range");
    if (!token->is_special || !skip_special_tokens) bytes += token->bytes;
  }
  return replace_broken_utf8(bytes);
}

std::int64_t Tokenizer::vocab_size() const noexcept {
  return static_cast<std::int64_t>(impl_->index_of_id.size());
}

std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const {
  const auto id = impl_->added.token_to_id(token);
  return id ? id : impl_->model.token_to_id(token);
}

bool Tokenizer::is_special(std::int32_t id) const noexcept {
  const Impl::Token* token = impl_->find(id);
  return token != nullptr && token->is_special;
}

std::string Tokenizer::apply_chat_template(std::string_view user_message) const {
  return render_chat(impl_->directory, user_message,
                     [&](std::string_view token) { return token_to_id(token).has_value(); });
}

std::string Tokenizer::Stream::put(std::int32_t id) {
  // Vocabularies of models are padded: an id without a token says nothing.
  const Impl::Token* token = tokenizer_->impl_->find(id);
  if (token == nullptr || token->is_special) return {};
  pending_ += token->bytes;
  const std::size_t settled = settled_utf8_length(pending_);
  std::string out = replace_broken_utf8(std::string_view(pending_).substr(0, settled));
  pending_.erase(0, settled);
  return out;
}

std::string Tokenizer::Stream::flush() {
  std::string out = replace_broken_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace torchao_cpp
