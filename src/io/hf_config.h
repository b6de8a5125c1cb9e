// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// Rotary embedding settings, from `rope_parameters` (transformers 5), or `rope_theta` and `rope_scaling` (before).
struct RopeParameters {
  double rope_theta = 10000.0;
  bool has_rope_theta = false;  ///< The file says it; else an architecture may have its own.
  /// "default", "linear", "llama3", "yarn", ...: any name the file gives; the model refuses what it cannot run.
  std::string rope_type = "default";
  /// Every further number of the object by its key, e.g. "factor", "original_max_position_embeddings".
  std::map<std::string, double, std::less<>> numbers;
  /// Keys whose values are neither numbers, null nor the type: the model may refuse them.
  std::vector<std::string> other_keys;
};

/// A model folder's config.json (and the token ids of generation_config.json), typed and checked.
///
/// Values of a wrong type or out of range always throw. Absent sizes are 0, so that a folder of an unknown architecture
/// can still be named; a decoder calls require_decoder_sizes() before it uses them.
struct HfConfig {
  /// Reads DIR/config.json and, when there is one, DIR/generation_config.json.
  /// Throws IoError, or ConfigError naming the key's path and the expected type.
  static HfConfig load(const std::filesystem::path& directory);
  /// The same from texts; `where` is named in messages. Without generation_config_json: empty.
  static HfConfig parse(std::string_view config_json, std::string_view where,
                        std::string_view generation_config_json = {});

  std::string where;  ///< The file, for messages.
  std::vector<std::string> architectures;
  std::string model_type;

  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;  ///< Defaults to num_attention_heads.
  std::int64_t head_dim = 0;             ///< Defaults to hidden_size / num_attention_heads.
  std::int64_t max_position_embeddings = 0;
  std::int64_t ffn_dim = 0;              ///< OPT's intermediate_size.
  std::int64_t word_embed_proj_dim = 0;  ///< OPT: columns of the embedding, where not hidden_size.
  double rms_norm_eps = 1e-6;
  double initializer_range = 0.02;  ///< Standard deviation of new weights.
  double init_std = 0.02;           ///< OPT's initializer_range.
  std::string hidden_act = "silu";
  bool attention_bias = false;
  bool mlp_bias = false;
  /// Nothing when absent: an architecture has its own default, see ties_word_embeddings().
  std::optional<bool> tie_word_embeddings;
  RopeParameters rope;
  std::optional<std::int64_t> sliding_window;
  bool has_sliding_window = false;  ///< The file has the key, be it null.
  std::optional<bool> use_sliding_window;
  std::vector<std::string> layer_types;
  /// SmolLM3: whether each layer rotates (1) or not (0); empty: all but every interval-th do.
  std::vector<std::int64_t> no_rope_layers;
  std::int64_t no_rope_layer_interval = 4;

  // OPT's own switches.
  std::string activation_function = "relu";
  bool enable_bias = true;
  bool layer_norm_elementwise_affine = true;
  bool do_layer_norm_before = true;
  bool remove_final_layer_norm = false;  ///< "_remove_final_layer_norm"

  /// `dtype` or `torch_dtype`; nothing when absent, null or "auto".
  std::optional<DType> dtype;
  std::optional<std::int64_t> bos_token_id;
  std::optional<std::int64_t> pad_token_id;
  /// Of generation_config.json when it names any, else of config.json.
  std::vector<std::int64_t> eos_token_ids;

  /// JSON text of `quantization_config`; empty when absent or null.
  std::string quantization_config;

  /// Throws ConfigError naming the first size that is absent, or sizes that do not fit together
  /// (num_attention_heads not a multiple of num_key_value_heads, no whole head_dim). Without
  /// `is_opt` the MLP's size is intermediate_size, else ffn_dim, and every head has its own keys.
  void require_decoder_sizes(bool is_opt = false) const;
};

}  // namespace torchao_cpp
