// SPDX-License-Identifier: Apache-2.0
#include "models/layer_selection.h"

#include <fmt/format.h>

namespace torchao_cpp {
namespace {

using Source = LayerDecision::Source;

LayerDecision left_alone(std::string reason) {
  return {nullptr, Source::kNoRule, "", std::move(reason)};
}

}  // namespace

std::string layer_prefix(std::int64_t layer) { return fmt::format("model.layers.{}", layer); }

std::vector<DecoderLinear> decoder_linears(const DecoderConfig& config, std::int64_t layer) {
  const std::string attention = layer_prefix(layer) + ".self_attn.";
  const std::string mlp = layer_prefix(layer) + ".mlp.";
  const std::int64_t q_size = config.num_heads * config.head_dim;
  const std::int64_t kv_size = config.num_kv_heads * config.head_dim;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  return {{attention + "q_proj", q_size, hidden, config.attention_bias},
          {attention + "k_proj", kv_size, hidden, config.attention_bias},
          {attention + "v_proj", kv_size, hidden, config.attention_bias},
          {attention + "o_proj", hidden, q_size, config.attention_bias},
          {mlp + "gate_proj", inner, hidden, config.mlp_bias},
          {mlp + "up_proj", inner, hidden, config.mlp_bias},
          {mlp + "down_proj", hidden, inner, config.mlp_bias}};
}

PackedLinear::Description qkv_proj_of(const DecoderConfig& config, std::int64_t layer) {
  const std::vector<DecoderLinear> linears = decoder_linears(config, layer);
  PackedLinear::Description out;
  out.prefix = layer_prefix(layer) + ".self_attn.qkv_proj";
  out.part_prefixes = {linears[kQ].prefix, linears[kK].prefix, linears[kV].prefix};
  out.output_sizes = {linears[kQ].output_size, linears[kK].output_size, linears[kV].output_size};
  out.input_size = config.hidden_size;
  out.has_bias = config.attention_bias;
  out.make_fused = [hidden = config.hidden_size, head_dim = config.head_dim,
                    heads = config.num_heads,
                    kv_heads = config.num_kv_heads](const LinearOptions& options) {
    return std::make_unique<QKVParallelLinear>(hidden, head_dim, heads, kv_heads, options);
  };
  return out;
}

PackedLinear::Description gate_up_proj_of(const DecoderConfig& config, std::int64_t layer) {
  const std::vector<DecoderLinear> linears = decoder_linears(config, layer);
  PackedLinear::Description out;
  out.prefix = layer_prefix(layer) + ".mlp.gate_up_proj";
  out.part_prefixes = {linears[kGate].prefix, linears[kUp].prefix};
  out.output_sizes = {config.intermediate_size, config.intermediate_size};
  out.input_size = config.hidden_size;
  out.has_bias = config.mlp_bias;
  out.make_fused = [hidden = config.hidden_size,
                    sizes = out.output_sizes](const LinearOptions& options) {
    return std::make_unique<MergedColumnParallelLinear>(hidden, sizes, options);
  };
  return out;
}

std::unique_ptr<LinearBase> make_row_parallel(const DecoderLinear& linear, const LinearBuild& build,
                                              bool is_stored_quantized) {
  return std::make_unique<RowParallelLinear>(
      linear.input_size, linear.output_size,
      build.options(linear.prefix, linear.has_bias, is_stored_quantized));
}

LayerDecision decide_head(const TorchAOConfig& quantization, bool is_tied) {
  LayerDecision decision = quantization.decide(kHeadPrefix);
  const bool is_named = decision.source == Source::kExactName || decision.source == Source::kRegex;
  if (decision.config == nullptr) return decision;
  if (!is_named) return left_alone("the output head stays unquantized unless a rule names it");
  if (is_tied)
    return left_alone("the output head is tied to the embedding, which stays unquantized");
  return decision;
}

LayerDecision decide_embedding(const TorchAOConfig& quantization) {
  LayerDecision decision = quantization.decide(kEmbedPrefix);
  const bool by_regex =
      decision.source == Source::kRegex && quantization.include_input_output_embeddings();
  if (decision.config == nullptr) return decision;
  if (decision.source == Source::kExactName || by_regex) return decision;
  return left_alone("the embedding stays unquantized unless a rule names it");
}

}  // namespace torchao_cpp
