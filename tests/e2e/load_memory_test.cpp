// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>

#include "base/testing_memory.h"
#include "e2e/demo_model.h"

/// What loading takes: resident memory, heap and mapped files together.
namespace torchao_cpp::e2e {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMiB = std::int64_t{1} << 20;
// Page tables, allocator, activations of decoding.
constexpr std::int64_t kSlackBytes = 24 * kMiB;

/// 282 MiB of weights, none above 32 MiB: what is kept beside the final weights shows.
class LoadMemory : public testing::TestWithParam<std::string> {
 protected:
  static constexpr std::int64_t kLargestTensor = 32 * kMiB;

  static void SetUpTestSuite() {
    scratch_ = std::make_unique<ScratchFolder>();
    const Json config{{"architectures", {"Qwen3ForCausalLM"}},
                      {"model_type", "qwen3"},
                      {"vocab_size", 16384},
                      {"hidden_size", 1024},
                      {"intermediate_size", 4096},
                      {"num_hidden_layers", 8},
                      {"num_attention_heads", 8},
                      {"num_key_value_heads", 4},
                      {"head_dim", 128},
                      {"max_position_embeddings", 64},
                      {"tie_word_embeddings", true},
                      {"torch_dtype", "bfloat16"}};
    std::ofstream(*scratch_ / "config.json") << config.dump();
    make_random_model(*scratch_ / "config.json", plain());
  }
  static void TearDownTestSuite() { scratch_.reset(); }
  static fs::path plain() { return *scratch_ / "plain"; }

  // Loads and checks that the peak is at most one tensor above what stays, and that what stays is
  // the weights.
  static void check(const fs::path& directory, const ModelOptions& options) {
    ::malloc_trim(0);
    if (!reset_peak()) GTEST_SKIP() << "/proc/self/clear_refs cannot be written here";
    const MemoryUse before = memory_use();
    const LLM model(directory, options);
    const MemoryUse after = memory_use();
    EXPECT_GE(after.peak, after.resident);
    EXPECT_LE(after.peak - after.resident, kLargestTensor + kSlackBytes);
    const std::int64_t kept = after.resident - before.resident;
    EXPECT_LE(kept, model.weight_bytes() + kSlackBytes);
    // Nothing is left for the first token to bring in.
    EXPECT_GE(kept, model.weight_bytes() * 95 / 100);
  }

  static std::unique_ptr<ScratchFolder> scratch_;
};

std::unique_ptr<ScratchFolder> LoadMemory::scratch_;

TEST_P(LoadMemory, OnTheFlyIsAtMostATensorAboveTheWeights) {
  ModelOptions options;
  if (!GetParam().empty()) options.quantization = TorchAOConfig::from_user(GetParam());
  check(plain(), options);
}

TEST_P(LoadMemory, QuantizedCheckpointIsAtMostATensorAboveTheWeights) {
  if (GetParam().empty()) GTEST_SKIP() << "the same as on the fly";
  quantize_model(plain(), *scratch_ / GetParam(),
                 {TorchAOConfig::from_user(GetParam()), {}, {}, nullptr});
  check(*scratch_ / GetParam(), {});
  fs::remove_all(*scratch_ / GetParam());
}

INSTANTIATE_TEST_SUITE_P(Configs, LoadMemory,
                         testing::Values("", "int8wo", "int8dq", "int4wo-128", "8da4w", "float8wo",
                                         "nvfp4"),
                         [](const auto& info) {
                           std::string name = info.param.empty() ? "plain" : info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace torchao_cpp::e2e
