// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_config.h"

#include <fmt/format.h>

#include "models/decoder_ops.h"
#include "models/rotary_embedding.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Of every OPT model; no file says them.
constexpr float kOptNormEps = 1e-5F;
constexpr std::int64_t kOptPositions = 2048;

void check_activation(const HfConfig& config, std::string_view key, std::string_view value,
                      std::string_view supported) {
  if (value == supported) return;
  throw UnsupportedError(
      fmt::format("{}: {} is '{}'; only '{}' is supported", config.where, key, value, supported));
}

void check_layer_types(const HfConfig& config) {
  for (const std::string& type : config.layer_types) {
    if (type != "full_attention") {
      throw UnsupportedError(fmt::format(
          "{}: layer_types has '{}'; only 'full_attention' is supported", config.where, type));
    }
  }
}

// Attention over a window is attention over everything while a sequence is no longer than that.
void limit_to_window(const HfConfig& config, DecoderConfig& out) {
  const DecoderArchitecture& architecture = *out.architecture;
  if (!config.use_sliding_window.value_or(architecture.uses_sliding_window)) return;
  const std::int64_t window =
      config.has_sliding_window ? config.sliding_window.value_or(0) : architecture.sliding_window;
  if (window == 0 || (out.max_length > 0 && window >= out.max_length)) return;
  out.max_length = window;
  out.max_length_key = "sliding_window";
}

std::vector<bool> rotating_layers(const HfConfig& config, const DecoderArchitecture& architecture) {
  const auto layers = static_cast<std::size_t>(config.num_hidden_layers);
  if (architecture.positions != PositionKind::kRotary) return std::vector<bool>(layers, false);
  std::vector<bool> out(layers, true);
  if (!architecture.has_no_rope_layers) return out;
  const std::vector<std::int64_t>& given = config.no_rope_layers;
  if (!given.empty() && given.size() < layers) {
    throw ConfigError(fmt::format("{}: no_rope_layers has {} entries; expected one for each of the "
                                  "{} layers",
                                  config.where, given.size(), layers),
                      "validation");
  }
  for (std::size_t i = 0; i < layers; ++i) {
    out[i] = given.empty() ? (static_cast<std::int64_t>(i) + 1) % config.no_rope_layer_interval != 0
                           : given[i] != 0;
  }
  return out;
}

void take_llama(const HfConfig& config, DecoderConfig& out) {
  const DecoderArchitecture& architecture = *out.architecture;
  check_activation(config, "hidden_act", config.hidden_act, "silu");
  out.embedding_dim = config.hidden_size;
  out.intermediate_size = config.intermediate_size;
  out.num_kv_heads = config.num_key_value_heads;
  out.head_dim = config.head_dim;
  out.norm_eps = static_cast<float>(config.rms_norm_eps);
  const bool is_configured = architecture.attention_bias == AttentionBias::kConfigured;
  out.o_bias = is_configured && config.attention_bias;
  out.qkv_bias = out.o_bias || architecture.attention_bias == AttentionBias::kQkv;
  out.mlp_bias = config.mlp_bias && architecture.has_mlp_bias;
  out.rope = config.rope;
  if (!config.rope.has_rope_theta) out.rope.rope_theta = architecture.rope_theta;
  out.initializer_range = config.initializer_range;
}

void take_opt(const HfConfig& config, DecoderConfig& out) {
  check_activation(config, "activation_function", config.activation_function, "relu");
  if (config.do_layer_norm_before && config.remove_final_layer_norm) {
    throw UnsupportedError(
        fmt::format("{}: _remove_final_layer_norm is true; only false is supported where "
                    "do_layer_norm_before is true",
                    config.where));
  }
  out.embedding_dim =
      config.word_embed_proj_dim > 0 ? config.word_embed_proj_dim : config.hidden_size;
  out.intermediate_size = config.ffn_dim;
  out.num_kv_heads = config.num_attention_heads;
  out.head_dim = config.hidden_size / config.num_attention_heads;
  if (out.max_position_embeddings == 0) out.max_position_embeddings = kOptPositions;
  out.norm_eps = kOptNormEps;
  out.has_norm_weights = config.layer_norm_elementwise_affine;
  out.is_post_norm = !config.do_layer_norm_before;
  out.qkv_bias = out.o_bias = out.mlp_bias = config.enable_bias;
  out.initializer_range = config.init_std;
}

}  // namespace

DecoderConfig DecoderConfig::from_hf_config(const HfConfig& config) {
  DecoderConfig out;
  out.architecture = &find_architecture(config);
  const bool is_opt = out.architecture->mlp == MlpKind::kRelu;
  config.require_decoder_sizes(is_opt);
  check_layer_types(config);
  out.where = config.where;
  out.vocab_size = config.vocab_size;
  out.hidden_size = config.hidden_size;
  out.num_layers = config.num_hidden_layers;
  out.num_heads = config.num_attention_heads;
  out.max_position_embeddings = config.max_position_embeddings;
  is_opt ? take_opt(config, out) : take_llama(config, out);
  out.max_length = out.max_position_embeddings;
  limit_to_window(config, out);
  if (out.head_dim > kMaxHeadDim) {
    throw UnsupportedError(fmt::format("{}: head_dim is {}; at most {} is supported", config.where,
                                       out.head_dim, kMaxHeadDim));
  }
  // Found out here, before any weight is read.
  if (out.architecture->positions == PositionKind::kRotary)
    rope_inverse_frequencies(out.rope, out.head_dim, config.where);
  out.rotates = rotating_layers(config, *out.architecture);
  out.tie_word_embeddings = ties_word_embeddings(config);
  for (const std::int64_t id : config.eos_token_ids)
    out.eos_token_ids.push_back(static_cast<std::int32_t>(id));
  return out;
}

}  // namespace torchao_cpp
