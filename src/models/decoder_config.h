// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/hf_config.h"
#include "models/decoder_architecture.h"
#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// The sizes and switches of a decoder, checked.
struct DecoderConfig {
  const DecoderArchitecture* architecture = nullptr;
  std::string where;  ///< The file, for messages.
  std::int64_t vocab_size = 0;
  std::int64_t embedding_dim = 0;  ///< Columns of the embedding and of the head.
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_position_embeddings = 0;  ///< 0: the file does not say.
  /// Tokens of a sequence at most: the above, or a sliding_window that is shorter, within which
  /// windowed attention is plain attention. 0: no limit.
  std::int64_t max_length = 0;
  std::string_view max_length_key = "max_position_embeddings";
  float norm_eps = 0;
  bool has_norm_weights = true;
  bool is_post_norm = false;  ///< Norms stand behind attention and MLP, and none behind the layers.
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  RopeParameters rope;
  std::vector<bool> rotates;  ///< Of each layer.
  double initializer_range = 0.02;
  std::vector<std::int32_t> eos_token_ids;

  bool is_projected() const noexcept { return embedding_dim != hidden_size; }
  /// Rows of the table of learned positions before that of position 0.
  static constexpr std::int64_t kPositionOffset = 2;

  /// Throws ConfigError for sizes that are absent or do not fit, UnsupportedError naming the value
  /// for an architecture, activation, attention form or rope type that does not run here.
  static DecoderConfig from_hf_config(const HfConfig& config);
};

}  // namespace torchao_cpp
