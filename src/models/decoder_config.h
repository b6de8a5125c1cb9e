// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/hf_config.h"
#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// What one decoder architecture does differently from the others.
struct DecoderArchitecture {
  std::string_view name;        ///< As in config.json's "architectures".
  std::string_view model_type;  ///< As in config.json.
  bool has_qk_norm;             ///< RMS norm over head_dim on q and k before the rotation.
  bool has_mlp_bias;            ///< Obeys mlp_bias; else the MLP never has a bias.
};

/// Every architecture this build runs.
std::span<const DecoderArchitecture> decoder_architectures() noexcept;

/// The architecture that config.json names. Throws UnsupportedError naming it and the supported
/// ones, ConfigError when none is named.
const DecoderArchitecture& find_architecture(const HfConfig& config);

/// The sizes and switches of a decoder, checked.
struct DecoderConfig {
  const DecoderArchitecture* architecture = nullptr;
  std::string where;  ///< The file, for messages.
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 0;
  float rms_norm_eps = 0;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  RopeParameters rope;
  std::vector<std::int32_t> eos_token_ids;

  /// Throws ConfigError for sizes that are absent or do not fit, UnsupportedError naming the value
  /// for an architecture, activation, attention form or rope type that does not run here.
  static DecoderConfig from_hf_config(const HfConfig& config);
};

}  // namespace torchao_cpp
