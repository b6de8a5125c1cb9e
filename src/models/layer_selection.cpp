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

std::string layer_prefix(const DecoderConfig& config, std::int64_t layer) {
  return fmt::format("{}.{}", config.architecture->names->layers, layer);
}

std::vector<DecoderLinear> decoder_linears(const DecoderConfig& config, std::int64_t layer) {
  const DecoderNames& names = *config.architecture->names;
  const std::string prefix = layer_prefix(config, layer);
  const auto named = [&](std::string_view name) { return fmt::format("{}.{}", prefix, name); };
  const std::int64_t q_size = config.num_heads * config.head_dim;
  const std::int64_t kv_size = config.num_kv_heads * config.head_dim;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  std::vector<DecoderLinear> out{{named("self_attn.q_proj"), q_size, hidden, config.qkv_bias},
                                 {named("self_attn.k_proj"), kv_size, hidden, config.qkv_bias},
                                 {named("self_attn.v_proj"), kv_size, hidden, config.qkv_bias},
                                 {named(names.o_proj), hidden, q_size, config.o_bias}};
  if (config.architecture->mlp == MlpKind::kSiluGated) {
    out.push_back({named(names.gate_proj), inner, hidden, config.mlp_bias});
    out.push_back({named(names.up_proj), inner, hidden, config.mlp_bias});
  } else {
    out.push_back({named(names.mlp_in), inner, hidden, config.mlp_bias});
  }
  out.push_back({named(names.mlp_out), hidden, inner, config.mlp_bias});
  return out;
}

std::vector<DecoderLinear> projections(const DecoderConfig& config) {
  if (!config.is_projected()) return {};
  return {{"model.decoder.project_in", config.hidden_size, config.embedding_dim, false},
          {"model.decoder.project_out", config.embedding_dim, config.hidden_size, false}};
}

PackedLinear::Description qkv_proj_of(const DecoderConfig& config, std::int64_t layer) {
  const std::vector<DecoderLinear> linears = decoder_linears(config, layer);
  PackedLinear::Description out;
  out.prefix = layer_prefix(config, layer) + ".self_attn.qkv_proj";
  out.part_prefixes = {linears[kQ].prefix, linears[kK].prefix, linears[kV].prefix};
  out.output_sizes = {linears[kQ].output_size, linears[kK].output_size, linears[kV].output_size};
  out.input_size = config.hidden_size;
  out.has_bias = config.qkv_bias;
  out.make_fused = [hidden = config.hidden_size, head_dim = config.head_dim,
                    heads = config.num_heads,
                    kv_heads = config.num_kv_heads](const LinearOptions& options) {
    return std::make_unique<QKVParallelLinear>(hidden, head_dim, heads, kv_heads, options);
  };
  return out;
}

PackedLinear::Description mlp_in_of(const DecoderConfig& config, std::int64_t layer) {
  const std::vector<DecoderLinear> linears = decoder_linears(config, layer);
  PackedLinear::Description out;
  out.prefix =
      fmt::format("{}.{}", layer_prefix(config, layer), config.architecture->names->mlp_in);
  for (std::size_t i = kO + 1; i + 1 < linears.size(); ++i) {
    out.part_prefixes.push_back(linears[i].prefix);
    out.output_sizes.push_back(linears[i].output_size);
  }
  out.input_size = config.hidden_size;
  out.has_bias = config.mlp_bias;
  out.make_fused = [hidden = config.hidden_size, sizes = out.output_sizes](
                       const LinearOptions& options) -> std::unique_ptr<LinearBase> {
    if (sizes.size() == 1)
      return std::make_unique<ColumnParallelLinear>(hidden, sizes.front(), options);
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

LayerDecision decide_embedding(const TorchAOConfig& quantization, std::string_view prefix) {
  LayerDecision decision = quantization.decide(prefix);
  const bool by_regex =
      decision.source == Source::kRegex && quantization.include_input_output_embeddings();
  if (decision.config == nullptr) return decision;
  if (decision.source == Source::kExactName || by_regex) return decision;
  return left_alone("the embedding stays unquantized unless a rule names it");
}

}  // namespace torchao_cpp
