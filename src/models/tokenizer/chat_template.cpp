// SPDX-License-Identifier: Apache-2.0
#include "models/tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "models/tokenizer/json_fields.h"
#include "models/tokenizer/text.h"
#include "models/tokenizer/tokenizer_file.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::size_t kLargestConfig = std::size_t{64} << 20;

// tokenizer_config.json's "chat_template": the text, or a list of named ones.
std::string template_text(const Json& value, std::string_view where) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array()) {
    for (const Json& entry : value) {
      if (string_field(entry, "name", where) == "default")
        return string_field(entry, "template", where);
    }
  }
  return {};
}

std::string read_template(const std::filesystem::path& directory) {
  const std::filesystem::path jinja = directory / "chat_template.jinja";
  std::error_code error;
  if (std::filesystem::exists(jinja, error)) return read_small_file(jinja, kLargestConfig);
  const std::filesystem::path config = directory / "tokenizer_config.json";
  if (!std::filesystem::exists(config, error)) return {};
  Json json;
  if (const auto problem = try_parse_json(read_small_file(config, kLargestConfig), json))
    throw tokenizer_error(config.string(), problem->message);
  return template_text(optional_field(json, "chat_template", config.string()), config.string());
}

// "\n" of Jinja string literals.
std::string unescape_line_breaks(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const bool is_break = text.starts_with("\\n");
    out += is_break ? '\n' : text.front();
    text.remove_prefix(is_break ? 2 : 1);
  }
  return out;
}

// The message that some templates put in front when the caller gives no system message: the only
// literal between a system header and the end token that contains no other code.
std::string default_system_turn(const std::string& text) {
  constexpr std::string_view kHeader = "<|im_start|>system\n";
  constexpr std::string_view kEnd = "<|im_end|>";
  for (std::size_t at = 0; (at = text.find(kHeader, at)) != std::string::npos;
       at += kHeader.size()) {
    const std::size_t stop = text.find_first_of("'\"{", at + kHeader.size());
    const std::size_t end = text.find(kEnd, at);
    if (end != std::string::npos && end < stop && end > at + kHeader.size())
      return fmt::format("{}{}\n", std::string_view(text).substr(at, end - at), kEnd);
  }
  return {};
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return is_white_space(static_cast<unsigned char>(c)); };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string render_chat(const std::filesystem::path& directory, std::string_view user_message,
                        const std::function<bool(std::string_view)>& has_token) {
  const std::string text = unescape_line_breaks(read_template(directory));
  if (text.empty())
    throw UnsupportedError(
        fmt::format("{}: the model has no chat template; give a plain prompt", directory.string()));
  const auto uses = [&](std::initializer_list<std::string_view> tokens) {
    return std::all_of(tokens.begin(), tokens.end(), [&](std::string_view t) {
      return text.find(t) != std::string::npos && has_token(t);
    });
  };
  if (uses({"<|im_start|>", "<|im_end|>"})) {
    return default_system_turn(text) +
           fmt::format("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", user_message);
  }
  // From Llama 3.1 on the template puts the date into a system message.
  const bool has_date = text.find("Today Date") != std::string::npos;
  if (uses({"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}) &&
      has_token("<|begin_of_text|>") && !has_date) {
    return fmt::format(
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_"
        "id|>assistant<|end_header_id|>\n\n",
        trimmed(user_message));
  }
  throw UnsupportedError(fmt::format(
      "{}: the chat template is neither ChatML nor that of Llama 3; format the prompt yourself",
      directory.string()));
}

}  // namespace torchao_cpp
