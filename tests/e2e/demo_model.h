// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "torchao_cpp/checkpoint.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp::e2e {

inline std::filesystem::path demo_model() { return TORCHAO_CPP_DEMO_MODEL; }

/// Token ids of the demo model's held-out text.
inline std::vector<std::int32_t> heldout_ids() {
  std::ifstream file(demo_model() / "heldout_text.txt", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return Tokenizer(demo_model()).encode(text);
}

/// What the error says that fn() throws.
template <typename F>
std::string message_of(const F& fn) {
  try {
    fn();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// Calls fn(name, ids, logits) for each prompt whose logits transformers computed in float32.
template <typename F>
void for_expected_logits(const F& fn) {
  const Checkpoint expected(demo_model() / "expected_logits_f32.safetensors");
  int prompts = 0;
  for (const std::string& name : expected.names()) {
    if (!name.ends_with(".input_ids")) continue;
    const std::string logits = name.substr(0, name.find('.')) + ".logits";
    fn(name, expected.entry(name).plain, expected.entry(logits).plain);
    ++prompts;
  }
  EXPECT_GT(prompts, 0);
}

/// The folder of one test, removed with everything in it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "torchao_e2e_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "no scratch folder";
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace torchao_cpp::e2e
