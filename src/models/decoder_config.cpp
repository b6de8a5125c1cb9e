// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_config.h"

#include <fmt/format.h>

#include <array>

#include "models/decoder_ops.h"
#include "models/quoted_list.h"
#include "models/rotary_embedding.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

constexpr auto kArchitectures = std::to_array<DecoderArchitecture>({
    {.name = "LlamaForCausalLM", .model_type = "llama", .has_qk_norm = false, .has_mlp_bias = true},
    {.name = "Qwen3ForCausalLM", .model_type = "qwen3", .has_qk_norm = true, .has_mlp_bias = false},
});

void check_supported(const HfConfig& config) {
  if (config.hidden_act != "silu") {
    throw UnsupportedError(fmt::format("{}: hidden_act is '{}'; only 'silu' is supported",
                                       config.where, config.hidden_act));
  }
  if (config.sliding_window) {
    throw UnsupportedError(
        fmt::format("{}: sliding_window is {}; sliding-window attention is not supported",
                    config.where, *config.sliding_window));
  }
  for (const std::string& type : config.layer_types) {
    if (type != "full_attention") {
      throw UnsupportedError(fmt::format(
          "{}: layer_types has '{}'; only 'full_attention' is supported", config.where, type));
    }
  }
  if (config.head_dim > kMaxHeadDim) {
    throw UnsupportedError(fmt::format("{}: head_dim is {}; at most {} is supported", config.where,
                                       config.head_dim, kMaxHeadDim));
  }
  // Found out here, before any weight is read.
  rope_inverse_frequencies(config.rope, config.head_dim, config.where);
}

}  // namespace

std::span<const DecoderArchitecture> decoder_architectures() noexcept { return kArchitectures; }

bool is_supported_architecture(std::string_view architecture) noexcept {
  for (const DecoderArchitecture& known : kArchitectures) {
    if (known.name == architecture) return true;
  }
  return false;
}

const DecoderArchitecture& find_architecture(const HfConfig& config) {
  for (const DecoderArchitecture& known : kArchitectures) {
    for (const std::string& name : config.architectures) {
      if (name == known.name) return known;
    }
    if (config.architectures.empty() && config.model_type == known.model_type) return known;
  }
  std::vector<std::string> names;
  for (const DecoderArchitecture& known : kArchitectures) names.emplace_back(known.name);
  if (config.architectures.empty() && config.model_type.empty()) {
    throw ConfigError(fmt::format("{}: names no architecture; expected one of {}", config.where,
                                  quoted_list(names)),
                      "missing_field");
  }
  throw UnsupportedError(
      fmt::format("{}: architecture '{}' is not supported; supported: {}", config.where,
                  config.architectures.empty() ? config.model_type : config.architectures.front(),
                  quoted_list(names)));
}

DecoderConfig DecoderConfig::from_hf_config(const HfConfig& config) {
  DecoderConfig out;
  out.architecture = &find_architecture(config);
  config.require_decoder_sizes();
  check_supported(config);
  out.where = config.where;
  out.vocab_size = config.vocab_size;
  out.hidden_size = config.hidden_size;
  out.intermediate_size = config.intermediate_size;
  out.num_layers = config.num_hidden_layers;
  out.num_heads = config.num_attention_heads;
  out.num_kv_heads = config.num_key_value_heads;
  out.head_dim = config.head_dim;
  out.max_position_embeddings = config.max_position_embeddings;
  out.rms_norm_eps = static_cast<float>(config.rms_norm_eps);
  out.attention_bias = config.attention_bias;
  out.mlp_bias = config.mlp_bias && out.architecture->has_mlp_bias;
  out.tie_word_embeddings = config.tie_word_embeddings;
  out.rope = config.rope;
  for (const std::int64_t id : config.eos_token_ids)
    out.eos_token_ids.push_back(static_cast<std::int32_t>(id));
  return out;
}

}  // namespace torchao_cpp
