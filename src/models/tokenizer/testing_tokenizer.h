// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/json.h"

namespace torchao_cpp {

/// A folder with a tokenizer.json, removed at the end. For tests.
class TokenizerFolder {
 public:
  explicit TokenizerFolder(const Json& json) : TokenizerFolder(json.dump()) {}
  explicit TokenizerFolder(const std::string& text) {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("tokenizer_test." + std::to_string(getpid()) + "." + std::to_string(count++));
    std::filesystem::create_directory(path_);
    write("tokenizer.json", text);
  }
  ~TokenizerFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TokenizerFolder(const TokenizerFolder&) = delete;
  TokenizerFolder& operator=(const TokenizerFolder&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  void write(std::string_view name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
  }

 private:
  std::filesystem::path path_;
};

/// A valid tokenizer.json with a handful of tokens, to be spoilt by tests.
inline Json small_tokenizer() {
  return Json::parse(R"({
    "added_tokens": [{"id": 5, "content": "<|im_start|>", "special": true}, {"id": 6, "content": "<|im_end|>", "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null, "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}, "merges": [["a", "b"], ["ab", "c"]]}})");
}

}  // namespace torchao_cpp
