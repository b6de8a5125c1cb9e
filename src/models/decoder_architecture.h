// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "io/hf_config.h"

namespace torchao_cpp {

enum class NormKind : std::uint8_t {
  kRms,    ///< weight * cast(x / sqrt(mean(x^2) + eps))
  kLayer,  ///< (x - mean) / sqrt(variance + eps) * weight + bias
};

enum class PositionKind : std::uint8_t {
  kRotary,   ///< q and k are rotated.
  kLearned,  ///< A row of a table is added to each token's embedding.
};

enum class MlpKind : std::uint8_t {
  kSiluGated,  ///< down(silu(gate(x)) * up(x))
  kRelu,       ///< fc2(relu(fc1(x)))
};

enum class AttentionBias : std::uint8_t {
  kNone,
  kQkv,         ///< q_proj, k_proj, v_proj always have one, o_proj never.
  kConfigured,  ///< All four or none, as config.json says.
};

/// What a checkpoint calls the modules of a decoder.
struct DecoderNames {
  std::string_view embed_tokens;
  std::string_view embed_positions;  ///< Empty without learned positions.
  std::string_view layers;           ///< Of layer N: layers.N.
  std::string_view norm;             ///< Behind the last layer.
  // In a layer.
  std::string_view attention_norm;
  std::string_view o_proj;
  std::string_view mlp_norm;
  std::string_view mlp_in;     ///< What vLLM makes of gate_proj and up_proj, or fc1.
  std::string_view gate_proj;  ///< Empty where mlp_in is one linear.
  std::string_view up_proj;
  std::string_view mlp_out;
};

/// What one decoder architecture does differently from the others. Defaults are those of Llama.
struct DecoderArchitecture {
  std::string_view name;        ///< As in config.json's "architectures".
  std::string_view model_type;  ///< As in config.json.
  std::string_view runs;        ///< What of it runs, for people; beyond what all have.
  const DecoderNames* names = nullptr;
  NormKind norm = NormKind::kRms;
  PositionKind positions = PositionKind::kRotary;
  MlpKind mlp = MlpKind::kSiluGated;
  AttentionBias attention_bias = AttentionBias::kConfigured;
  bool has_mlp_bias = false;        ///< Obeys mlp_bias; else the MLP never has a bias.
  bool has_qk_norm = false;         ///< RMS norm over head_dim on q and k before the rotation.
  bool has_no_rope_layers = false;  ///< Obeys no_rope_layers.

  // What is meant where config.json says nothing.
  bool ties_word_embeddings = false;
  bool uses_sliding_window = true;  ///< Where there is a sliding_window.
  std::int64_t sliding_window = 0;  ///< 0: none.
  double rope_theta = 10000.0;
};

/// Every architecture this build runs.
std::span<const DecoderArchitecture> decoder_architectures() noexcept;

/// The architecture that config.json names, null when it does not run here or none is named.
const DecoderArchitecture* known_architecture(const HfConfig& config) noexcept;

/// The same. Throws UnsupportedError naming it and the supported ones, ConfigError when none is
/// named.
const DecoderArchitecture& find_architecture(const HfConfig& config);

/// Whether the output head's weight is the embedding's, also for architectures that do not run
/// here.
bool ties_word_embeddings(const HfConfig& config) noexcept;

/// Name of the embedding module, that of most architectures for those that do not run here.
std::string_view embedding_prefix(const HfConfig& config) noexcept;

}  // namespace torchao_cpp
