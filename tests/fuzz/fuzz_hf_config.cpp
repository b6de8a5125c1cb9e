// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "fuzz/fuzz_target.h"
#include "models/decoder_config.h"
#include "models/layer_selection.h"
#include "models/rotary_embedding.h"
#include "torchao_cpp/torchao_config.h"

// The texts of config.json and, behind the first 0xff, generation_config.json.
// Holds: only Error; the sizes of an accepted decoder are above 0 and fit together, and no product
// of two overflows.
namespace torchao_cpp::fuzz {
namespace {

// Tables of a real model's head are as long as this or shorter.
constexpr std::int64_t kLargestHead = 1024;

void check_sizes(const DecoderConfig& config) {
  for (const std::int64_t size :
       {config.vocab_size, config.hidden_size, config.intermediate_size, config.num_layers,
        config.num_heads, config.num_kv_heads, config.head_dim, config.embedding_dim}) {
    hold(size > 0, "a decoder with a size of 0 or less");
  }
  hold(config.max_position_embeddings >= 0 && config.max_length >= 0,
       "a negative length");  // 0: the file does not say
  hold(static_cast<std::int64_t>(config.rotates.size()) == config.num_layers,
       "a layer of which nothing says whether it rotates");
  hold(config.num_heads % config.num_kv_heads == 0,
       "query heads that do not share key heads evenly");
  for (const DecoderLinear& linear : decoder_linears(config, 0)) {
    std::int64_t numel = 0;
    hold(!__builtin_mul_overflow(linear.output_size, linear.input_size, &numel) && numel > 0,
         "a linear's size overflows");
  }
  // Sums of output sizes: what overflows here, the sanitizer sees.
  qkv_proj_of(config, 0);
  mlp_in_of(config, 0);
  projections(config);
}

void run(std::string_view text, std::string_view generation) {
  const HfConfig config = HfConfig::parse(text, "config.json", generation);
  if (!config.quantization_config.empty())
    accepts([&] { TorchAOConfig::from_config(config.quantization_config); });
  const DecoderConfig decoder = DecoderConfig::from_hf_config(config);
  check_sizes(decoder);
  if (decoder.head_dim > kLargestHead) return;
  if (decoder.architecture->positions != PositionKind::kRotary) return;
  const std::int64_t length = std::min<std::int64_t>(decoder.max_position_embeddings, 16);
  RotaryEmbedding(decoder.rope, decoder.head_dim, length, DType::kBFloat16, "config.json");
}

}  // namespace
}  // namespace torchao_cpp::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace torchao_cpp::fuzz;
  const auto [text, generation] = split(as_text(data, size));
  accepts([&, text = text, generation = generation] { run(text, generation); });
  return 0;
}
