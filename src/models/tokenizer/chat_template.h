// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace torchao_cpp {

/// Renders one user message and the opening of the answer, as the model folder's chat template
/// would. Templates are Jinja programs; instead of running them, the ChatML and Llama 3 forms are
/// recognised by their tokens and by a default system message written out in the template.
/// `has_token` says whether the vocabulary holds a token. Throws IoError or CheckpointError for
/// tokenizer_config.json, UnsupportedError for any other template or none.
std::string render_chat(const std::filesystem::path& directory, std::string_view user_message,
                        const std::function<bool(std::string_view)>& has_token);

}  // namespace torchao_cpp
