// SPDX-License-Identifier: Apache-2.0
#include "models/random_parameters.h"

#include <fmt/format.h>

#include "models/layer_selection.h"
#include "models/normal_values.h"

namespace torchao_cpp {
namespace {

using Init = RandomParameter::Init;

void add_linears(std::span<const DecoderLinear> linears, std::vector<RandomParameter>& out) {
  for (const DecoderLinear& linear : linears) {
    const Shape shape{linear.output_size, linear.input_size};
    out.push_back({linear.prefix + ".weight", shape, Init::kNormal});
    if (linear.has_bias)
      out.push_back({linear.prefix + ".bias", {linear.output_size}, Init::kZeros});
  }
}

void add_norm(const DecoderConfig& config, const std::string& prefix,
              std::vector<RandomParameter>& out) {
  if (!config.has_norm_weights) return;
  out.push_back({prefix + ".weight", {config.hidden_size}, Init::kOnes});
  if (config.architecture->norm == NormKind::kLayer)
    out.push_back({prefix + ".bias", {config.hidden_size}, Init::kZeros});
}

std::vector<RandomParameter> layer_parameters(const DecoderConfig& config, std::int64_t index) {
  const DecoderNames& names = *config.architecture->names;
  const std::string prefix = layer_prefix(config, index);
  std::vector<RandomParameter> out;
  add_linears(decoder_linears(config, index), out);
  if (config.architecture->has_qk_norm) {
    out.push_back({prefix + ".self_attn.q_norm.weight", {config.head_dim}, Init::kOnes});
    out.push_back({prefix + ".self_attn.k_norm.weight", {config.head_dim}, Init::kOnes});
  }
  add_norm(config, fmt::format("{}.{}", prefix, names.attention_norm), out);
  add_norm(config, fmt::format("{}.{}", prefix, names.mlp_norm), out);
  return out;
}

}  // namespace

std::vector<RandomParameter> random_parameters(const DecoderConfig& config) {
  const DecoderNames& names = *config.architecture->names;
  const Shape table{config.vocab_size, config.embedding_dim};
  std::vector<RandomParameter> out{
      {std::string(names.embed_tokens) + ".weight", table, Init::kNormal}};
  if (config.architecture->positions == PositionKind::kLearned) {
    out.push_back({std::string(names.embed_positions) + ".weight",
                   {config.max_position_embeddings + config.kPositionOffset, config.hidden_size},
                   Init::kNormal});
  }
  add_linears(projections(config), out);
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    std::vector<RandomParameter> layer = layer_parameters(config, i);
    std::move(layer.begin(), layer.end(), std::back_inserter(out));
  }
  if (!config.is_post_norm) add_norm(config, std::string(names.norm), out);
  if (!config.tie_word_embeddings)
    out.push_back({std::string(kHeadPrefix) + ".weight", table, Init::kNormal});
  return out;
}

Tensor RandomParameter::values(DType dtype, double deviation, std::uint64_t seed,
                               std::string_view name) const {
  if (init == Init::kZeros) return Tensor::zeros(dtype, shape);
  if (init == Init::kOnes) {
    const std::vector<float> ones(static_cast<std::size_t>(shape_numel(shape)), 1.0F);
    return Tensor::from_values<float>(DType::kFloat32, shape, ones).to(dtype);
  }
  Tensor out = Tensor::empty(dtype, shape);
  fill_normal(out, deviation, normal_key(seed, name));
  return out;
}

}  // namespace torchao_cpp
