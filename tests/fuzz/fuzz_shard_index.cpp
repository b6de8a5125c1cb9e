// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "fuzz/fuzz_target.h"
#include "io/shard_index.h"

// The text of model.safetensors.index.json.
// Holds: only Error; every accepted file name is plain (no path) and every key occurs once.
namespace torchao_cpp::fuzz {
namespace {

void run(std::string_view text) {
  const ShardIndex index = parse_shard_index(text, "index");
  std::set<std::string_view> keys;
  for (const auto& [key, file] : index.weight_map) {
    hold(keys.insert(key).second, "a key that occurs twice");
    hold(is_plain_file_name(file), "a file name that is a path");
    hold(file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && file != "..",
         "a file name that leaves the folder");
  }
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  accepts([&] { run(as_text(data, size)); });
  return 0;
}
