// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/decoder_config.h"
#include "models/packed_linear.h"
#include "torchao_cpp/torchao_config.h"

namespace torchao_cpp {

/// One linear of a decoder layer as a checkpoint names it, before fusing.
struct DecoderLinear {
  std::string prefix;  ///< e.g. "model.layers.0.self_attn.q_proj"
  std::int64_t output_size = 0;
  std::int64_t input_size = 0;
  bool has_bias = false;
};

inline constexpr const char* kEmbedPrefix = "model.embed_tokens";
inline constexpr const char* kHeadPrefix = "lm_head";

/// "model.layers.LAYER"
std::string layer_prefix(std::int64_t layer);
/// q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj of one layer, in this order.
std::vector<DecoderLinear> decoder_linears(const DecoderConfig& config, std::int64_t layer);

/// The fused linears of one layer and how to make them.
PackedLinear::Description qkv_proj_of(const DecoderConfig& config, std::int64_t layer);
PackedLinear::Description gate_up_proj_of(const DecoderConfig& config, std::int64_t layer);
/// o_proj or down_proj: unloaded. `is_stored_quantized` as in LinearBuild::options.
std::unique_ptr<LinearBase> make_row_parallel(const DecoderLinear& linear, const LinearBuild& build,
                                              bool is_stored_quantized);

/// Positions in the list of decoder_linears.
enum DecoderLinearIndex : std::size_t { kQ, kK, kV, kO, kGate, kUp, kDown };

/// The output head: unquantized unless a rule names it exactly or by "re:" (vLLM never touches it,
/// transformers skips it by default); a head that is tied to the embedding is never quantized on
/// its own.
LayerDecision decide_head(const TorchAOConfig& quantization, bool is_tied);
/// The embedding: unquantized unless a rule names it exactly, or by "re:" where
/// include_input_output_embeddings is set.
LayerDecision decide_embedding(const TorchAOConfig& quantization);

}  // namespace torchao_cpp
