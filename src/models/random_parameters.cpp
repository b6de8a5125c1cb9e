// SPDX-License-Identifier: Apache-2.0
#include "models/random_parameters.h"

#include "models/layer_selection.h"
#include "models/normal_values.h"

namespace torchao_cpp {
namespace {

using Init = RandomParameter::Init;

std::vector<RandomParameter> layer_parameters(const DecoderConfig& config, std::int64_t index) {
  const std::string prefix = layer_prefix(index);
  std::vector<RandomParameter> out;
  for (const DecoderLinear& linear : decoder_linears(config, index)) {
    const Shape shape{linear.output_size, linear.input_size};
    out.push_back({linear.prefix + ".weight", shape, Init::kNormal});
    if (linear.has_bias)
      out.push_back({linear.prefix + ".bias", {linear.output_size}, Init::kZeros});
  }
  if (config.architecture->has_qk_norm) {
    out.push_back({prefix + ".self_attn.q_norm.weight", {config.head_dim}, Init::kOnes});
    out.push_back({prefix + ".self_attn.k_norm.weight", {config.head_dim}, Init::kOnes});
  }
  out.push_back({prefix + ".input_layernorm.weight", {config.hidden_size}, Init::kOnes});
  out.push_back({prefix + ".post_attention_layernorm.weight", {config.hidden_size}, Init::kOnes});
  return out;
}

}  // namespace

std::vector<RandomParameter> random_parameters(const DecoderConfig& config) {
  const Shape table{config.vocab_size, config.hidden_size};
  std::vector<RandomParameter> out{{std::string(kEmbedPrefix) + ".weight", table, Init::kNormal}};
  for (std::int64_t i = 0; i < config.num_layers; ++i) {
    std::vector<RandomParameter> layer = layer_parameters(config, i);
    std::move(layer.begin(), layer.end(), std::back_inserter(out));
  }
  out.push_back({"model.norm.weight", {config.hidden_size}, Init::kOnes});
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
