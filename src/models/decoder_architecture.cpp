// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_architecture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "models/quoted_list.h"
#include "torchao_cpp/error.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {
namespace {

constexpr DecoderNames kLlamaNames{
    .embed_tokens = "model.embed_tokens",
    .embed_positions = "",
    .layers = "model.layers",
    .norm = "model.norm",
    .attention_norm = "input_layernorm",
    .o_proj = "self_attn.o_proj",
    .mlp_norm = "post_attention_layernorm",
    .mlp_in = "mlp.gate_up_proj",
    .gate_proj = "mlp.gate_proj",
    .up_proj = "mlp.up_proj",
    .mlp_out = "mlp.down_proj",
};

constexpr DecoderNames kOptNames{
    .embed_tokens = "model.decoder.embed_tokens",
    .embed_positions = "model.decoder.embed_positions",
    .layers = "model.decoder.layers",
    .norm = "model.decoder.final_layer_norm",
    .attention_norm = "self_attn_layer_norm",
    .o_proj = "self_attn.out_proj",
    .mlp_norm = "final_layer_norm",
    .mlp_in = "fc1",
    .gate_proj = "",
    .up_proj = "",
    .mlp_out = "fc2",
};

// Defaults as in the configuration classes of transformers 5.19.
constexpr auto kArchitectures = std::to_array<DecoderArchitecture>({
    {.name = "LlamaForCausalLM",
     .model_type = "llama",
     .runs = "biases as `attention_bias` and `mlp_bias` say",
     .names = &kLlamaNames,
     .has_mlp_bias = true},
    {.name = "MistralForCausalLM",
     .model_type = "mistral",
     .runs = "sequences no longer than `sliding_window`",
     .names = &kLlamaNames,
     .attention_bias = AttentionBias::kNone,
     .sliding_window = 4096},
    {.name = "OPTForCausalLM",
     .model_type = "opt",
     .runs = "learned positions; norms before or behind "
             "(`do_layer_norm_before`), with weights or without; biases or none; "
             "`word_embed_proj_dim`; `relu`",
     .names = &kOptNames,
     .norm = NormKind::kLayer,
     .positions = PositionKind::kLearned,
     .mlp = MlpKind::kRelu,
     .ties_word_embeddings = true},
    {.name = "Qwen2ForCausalLM",
     .model_type = "qwen2",
     .runs = "biases on q, k and v; sequences no longer than a `sliding_window` "
             "in use",
     .names = &kLlamaNames,
     .attention_bias = AttentionBias::kQkv,
     .uses_sliding_window = false},
    {.name = "Qwen3ForCausalLM",
     .model_type = "qwen3",
     .runs = "norms on q and k; sequences no longer than a `sliding_window` in use",
     .names = &kLlamaNames,
     .has_qk_norm = true,
     .uses_sliding_window = false},
    {.name = "SmolLM3ForCausalLM",
     .model_type = "smollm3",
     .runs = "layers without rotation (`no_rope_layers`); sequences no longer "
             "than a `sliding_window` in use",
     .names = &kLlamaNames,
     .has_mlp_bias = true,
     .has_no_rope_layers = true,
     .ties_word_embeddings = true,
     .uses_sliding_window = false,
     .rope_theta = 2000000.0},
});

}  // namespace

std::span<const DecoderArchitecture> decoder_architectures() noexcept { return kArchitectures; }

bool is_supported_architecture(std::string_view architecture) noexcept {
  return std::any_of(kArchitectures.begin(), kArchitectures.end(),
                     [&](const auto& known) { return known.name == architecture; });
}

std::vector<ArchitectureInfo> architecture_infos() {
  std::vector<ArchitectureInfo> out;
  for (const DecoderArchitecture& known : kArchitectures)
    out.push_back({known.name, known.model_type, known.runs});
  return out;
}

const DecoderArchitecture* known_architecture(const HfConfig& config) noexcept {
  for (const DecoderArchitecture& known : kArchitectures) {
    for (const std::string& name : config.architectures) {
      if (name == known.name) return &known;
    }
    if (config.architectures.empty() && config.model_type == known.model_type) return &known;
  }
  return nullptr;
}

const DecoderArchitecture& find_architecture(const HfConfig& config) {
  if (const DecoderArchitecture* known = known_architecture(config)) return *known;
  std::vector<std::string> names;
  for (const DecoderArchitecture& each : kArchitectures) names.emplace_back(each.name);
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

bool ties_word_embeddings(const HfConfig& config) noexcept {
  const DecoderArchitecture* known = known_architecture(config);
  return config.tie_word_embeddings.value_or(known != nullptr && known->ties_word_embeddings);
}

std::string_view embedding_prefix(const HfConfig& config) noexcept {
  const DecoderArchitecture* known = known_architecture(config);
  return (known != nullptr ? *known->names : kLlamaNames).embed_tokens;
}

}  // namespace torchao_cpp
