// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
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

inline constexpr const char* kHeadPrefix = "lm_head";

/// "model.layers.LAYER", as the architecture calls it.
std::string layer_prefix(const DecoderConfig& config, std::int64_t layer);
/// q_proj, k_proj, v_proj, o_proj of one layer, then those of its MLP: gate_proj, up_proj,
/// down_proj, or fc1, fc2.
std::vector<DecoderLinear> decoder_linears(const DecoderConfig& config, std::int64_t layer);
/// Linears between the embedding and the layers, and between these and the head: project_in and
/// project_out, or none.
std::vector<DecoderLinear> projections(const DecoderConfig& config);

/// The fused linears of one layer and how to make them; of the MLP what is fed with its input.
PackedLinear::Description qkv_proj_of(const DecoderConfig& config, std::int64_t layer);
PackedLinear::Description mlp_in_of(const DecoderConfig& config, std::int64_t layer);
/// A linear that is fused with no other: unloaded. `is_stored_quantized` as in
/// LinearBuild::options.
std::unique_ptr<LinearBase> make_row_parallel(const DecoderLinear& linear, const LinearBuild& build,
                                              bool is_stored_quantized);

/// Positions in the list of decoder_linears; its last one is what gives the MLP's output.
enum DecoderLinearIndex : std::size_t { kQ, kK, kV, kO };

/// The output head: unquantized unless a rule names it exactly or by "re:" (vLLM never touches it,
/// transformers skips it by default); a head that is tied to the embedding is never quantized on
/// its own.
LayerDecision decide_head(const TorchAOConfig& quantization, bool is_tied);
/// The embedding: unquantized unless a rule names it exactly, or by "re:" where
/// include_input_output_embeddings is set. `prefix`: its name.
LayerDecision decide_embedding(const TorchAOConfig& quantization, std::string_view prefix);

}  // namespace torchao_cpp
