// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "base/json.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp::e2e {

inline std::filesystem::path demo_model() { return TORCHAO_CPP_DEMO_MODEL; }

/// Token ids of the demo model's held-out text.
inline std::vector<std::int32_t> heldout_ids() {
  std::ifstream file(demo_model() / "heldout_text.txt", std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  return Tokenizer(demo_model()).encode(text);
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
