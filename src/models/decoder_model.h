// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/decoder_config.h"
#include "models/decoder_steps.h"
#include "models/kv_cache.h"
#include "models/model_folder.h"
#include "models/packed_linear.h"
#include "torchao_cpp/linear.h"
#include "torchao_cpp/llm.h"

namespace torchao_cpp {

/// A decoder-only transformer with its weights: ids and KV caches in, float32 logits out.
///
/// Tokens go through in chunks of at most max_chunk(), of one sequence or of many, so that the
/// workspace is bounded; it is allocated once, and running allocates nothing. On a GPU everything
/// but ids and logits stays in its memory. Not safe for concurrent calls.
class DecoderModel {
 public:
  /// Loads all weights of `folder`. Adds remarks for a person to `notices`. Throws CheckpointError,
  /// ShapeError, ConfigError, UnsupportedError, DeviceError.
  DecoderModel(const ModelFolder& folder, const ModelOptions& options,
               std::vector<std::string>& notices);

  const DecoderConfig& config() const noexcept { return config_; }
  DType dtype() const noexcept { return dtype_; }
  std::int64_t max_model_len() const noexcept { return max_model_len_; }
  std::int64_t max_chunk() const noexcept { return max_chunk_; }
  /// Sequences that may run at once.
  std::int64_t max_batch() const noexcept { return max_batch_; }
  std::int64_t weight_bytes() const noexcept { return weight_bytes_; }
  std::int64_t linear_weight_bytes() const noexcept { return linear_weight_bytes_; }
  const std::vector<LinearReport>& linear_reports() const noexcept { return reports_; }

  std::int64_t kv_cache_bytes_per_token() const noexcept {
    return 2 * config_.num_layers * config_.num_kv_heads * config_.head_dim *
           dtype_size_bytes(dtype_);
  }
  /// Where forward and the logits add up their time, or null: nowhere, at no cost. A GPU, which
  /// does the parts of a step while the host goes on, notes none of them.
  void set_profile(PhaseProfile* profile) noexcept {
    profile_ = steps_->is_asynchronous() ? nullptr : profile;
  }

  /// An empty cache for one sequence of at most `length` tokens. Throws DeviceError.
  KvCache make_cache(std::int64_t length) const;

  /// Runs the tokens of all sequences, at most max_chunk() together; no sequence occurs twice. Rows
  /// are the tokens of the first sequence, then of the second, ...
  void forward(std::span<const SequenceTokens> sequences) noexcept;
  /// Logits [count, vocab_size] of the rows first, first + 1, ... of the last forward. May be
  /// called until one of the next two is. On a GPU all three wait for the forward and throw
  /// DeviceError for whatever went wrong in it.
  void logits(std::int64_t first, std::int64_t count, float* out);
  /// Logits [count, vocab_size] of the last token of each of the first `count` sequences of the
  /// last forward.
  void last_logits(std::int64_t count, float* out);
  /// The largest of each row of these logits: all that greedy decoding needs, and little to bring
  /// over from a GPU.
  void last_best(std::int64_t count, BestLogit* out);
  /// Whether last_best saves anything over last_logits.
  bool finds_best_cheaply() const noexcept { return steps_->is_asynchronous(); }

 private:
  struct Layer {
    NormWeights attention_norm;
    NormWeights mlp_norm;
    HeadTransform heads;
    std::unique_ptr<PackedLinear> qkv_proj;
    std::unique_ptr<LinearBase> o_proj;
    std::unique_ptr<PackedLinear> mlp_in;  ///< gate_proj and up_proj, or fc1.
    std::unique_ptr<LinearBase> mlp_out;   ///< down_proj or fc2.
  };

  void load(const LinearBuild& build, WeightLoader& loader);
  NormWeights load_norm(const std::string& prefix, WeightLoader& loader) const;
  Layer load_layer(std::int64_t index, const LinearBuild& build, WeightLoader& loader) const;
  void load_head(const LinearBuild& build, WeightLoader& loader, const LoadedWeight& embedding);
  void count_weights();
  void allocate_workspace();
  void run_steps() noexcept;
  void embed() noexcept;
  void run_layer(std::int64_t index) noexcept;
  void run_mlp(const Layer& layer, const void* x, void* out) noexcept;
  void finish() noexcept;
  /// What the head is fed with: [rows, embedding_dim].
  std::byte* output() noexcept;
  LinearContext context() noexcept;
  template <typename F>
  void for_head_rows(const void* rows, std::int64_t count, const F& fn);
  template <typename F>
  void run_linear(const F& fn) noexcept;
  template <typename F>
  void run_attention(const F& fn) noexcept;

  DecoderConfig config_;
  DType dtype_ = DType::kBFloat16;
  std::int64_t max_model_len_ = 0;
  std::int64_t max_chunk_ = 0;
  std::int64_t max_batch_ = 1;
  std::int64_t head_rows_ = 0;  ///< Rows of logits computed at a time.
  Device device_;

  std::optional<Embedding> embed_tokens_;   ///< [vocab_size, embedding_dim], as it is stored.
  Tensor embed_positions_;                  ///< Where positions are learned.
  std::unique_ptr<LinearBase> project_in_;  ///< Null where embedding_dim is hidden_size.
  std::unique_ptr<LinearBase> project_out_;
  NormWeights norm_;
  std::vector<Layer> layers_;
  std::unique_ptr<LinearBase> lm_head_;
  std::vector<LinearReport> reports_;
  std::int64_t weight_bytes_ = 0;
  std::int64_t linear_weight_bytes_ = 0;

  PhaseProfile* profile_ = nullptr;

  std::unique_ptr<DecoderSteps> steps_;
  std::int64_t rows_ = 0;  ///< Of the last forward.

  // Workspace for max_chunk_ tokens.
  Tensor hidden_;     ///< [tokens, hidden_size]: the residual stream.
  Tensor normed_;     ///< [tokens, hidden_size]; between layers what is to be added to hidden_.
  Tensor projected_;  ///< [tokens, embedding_dim], where that is not hidden_size.
  Tensor wide_;       ///< Results of the packed linears.
  Tensor inner_;      ///< Attention output, or the product of gate and up.
  Tensor head_out_;
  Tensor linear_workspace_;
};

}  // namespace torchao_cpp
