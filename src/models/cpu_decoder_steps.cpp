// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "models/attention.h"
#include "models/decoder_steps.h"
#include "models/rotary_embedding.h"

namespace torchao_cpp {
namespace {

class CpuDecoderSteps final : public DecoderSteps {
 public:
  explicit CpuDecoderSteps(const DecoderStepsSpec& spec)
      : config_(spec.config),
        dtype_(spec.dtype),
        attention_({config_.num_heads, config_.num_kv_heads, config_.head_dim}, dtype_,
                   spec.max_rows, spec.max_length),
        queries_(
            Tensor::empty(DType::kFloat32, {spec.max_rows, config_.num_heads * config_.head_dim})) {
    if (config_.architecture->positions == PositionKind::kRotary)
      rope_.emplace(config_.rope, config_.head_dim, spec.max_length, dtype_, config_.where);
    const auto rows = static_cast<std::size_t>(spec.max_rows);
    ids_.reserve(rows);
    places_.reserve(rows);
    segments_.reserve(rows);
  }

  bool is_asynchronous() const noexcept override { return false; }
  Stream stream() const noexcept override { return {}; }

  void start(std::span<const SequenceTokens> sequences) noexcept override {
    ids_.clear();
    places_.clear();
    segments_.clear();
    for (const SequenceTokens& tokens : sequences) {
      ids_.insert(ids_.end(), tokens.ids.begin(), tokens.ids.end());
      const auto rows = static_cast<std::int64_t>(tokens.ids.size());
      for (std::int64_t r = 0; r < rows; ++r)
        places_.push_back({tokens.cache, tokens.position + r});
      segments_.push_back({tokens.cache, rows, tokens.position});
    }
  }

  void run(const std::function<void()>& steps) noexcept override { steps(); }

  void embed(const Embedding& table, void* hidden) noexcept override { table.apply(ids_, hidden); }

  void add_positions(const Tensor& table, void* hidden) noexcept override {
    torchao_cpp::add_positions(table, config_.kPositionOffset, places_, hidden);
  }

  void add_and_norm(const NormWeights& norm, void* hidden, const void* delta,
                    void* out) noexcept override {
    const std::int64_t columns = config_.hidden_size;
    if (delta != nullptr) add_in_place(dtype_, hidden, delta, rows() * columns);
    if (config_.architecture->norm == NormKind::kRms) {
      rms_norm(norm.weight, config_.norm_eps, hidden, rows(), out);
    } else {
      layer_norm(dtype_, norm, config_.norm_eps, hidden, rows(), columns, out);
    }
  }

  void transform_qkv(const HeadTransform& transform, const QkvRows& qkv,
                     std::int64_t layer) noexcept override {
    torchao_cpp::transform_qkv(transform, rope_ ? &*rope_ : nullptr, qkv, places_, layer,
                               queries_.mutable_data<float>());
  }

  void attend(std::int64_t layer, void* out) noexcept override {
    attention_.run(segments_, layer, queries_.data<float>(), out);
  }

  void silu_mul(RowView gate, RowView up, void* out) noexcept override {
    torchao_cpp::silu_mul(dtype_, gate, up, rows(), config_.intermediate_size, out);
  }

  void relu(void* x) noexcept override {
    relu_in_place(dtype_, x, rows() * config_.intermediate_size);
  }

  const void* last_rows(void* rows, std::int64_t count) noexcept override {
    // Moved to the front: a row goes to its place or before it, never over one that is still
    // needed.
    const std::int64_t row_bytes = config_.embedding_dim * dtype_size_bytes(dtype_);
    auto* const bytes = static_cast<std::byte*>(rows);
    std::int64_t end = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      end += segments_[static_cast<std::size_t>(i)].rows;
      std::memmove(bytes + i * row_bytes, bytes + (end - 1) * row_bytes,
                   static_cast<std::size_t>(row_bytes));
    }
    return rows;
  }

  void read_floats(const void* values, std::int64_t count, float* out) override {
    widen(dtype_, values, count, out);
  }

  void read_best(const void* logits, std::int64_t rows, BestLogit* out) override {
    const std::int64_t vocab = config_.vocab_size;
    floats_.resize(static_cast<std::size_t>(vocab));
    for (std::int64_t r = 0; r < rows; ++r) {
      widen(dtype_, static_cast<const std::byte*>(logits) + r * vocab * dtype_size_bytes(dtype_),
            vocab, floats_.data());
      const float best = largest_logit(floats_);
      out[r] = {best, static_cast<std::int32_t>(std::find(floats_.begin(), floats_.end(), best) -
                                                floats_.begin())};
    }
  }

 private:
  std::int64_t rows() const noexcept { return static_cast<std::int64_t>(ids_.size()); }

  const DecoderConfig& config_;
  DType dtype_;
  std::optional<RotaryEmbedding> rope_;
  Attention attention_;
  Tensor queries_;  ///< float32 [tokens, num_heads, head_dim]
  std::vector<float> floats_;

  // The tokens at hand.
  std::vector<std::int32_t> ids_;
  std::vector<TokenPlace> places_;
  std::vector<AttentionSegment> segments_;
};

}  // namespace

std::unique_ptr<DecoderSteps> make_cpu_decoder_steps(const DecoderStepsSpec& spec) {
  return std::make_unique<CpuDecoderSteps>(spec);
}

std::unique_ptr<DecoderSteps> make_decoder_steps(const DecoderStepsSpec& spec) {
  return spec.device.type == DeviceType::kCUDA ? make_cuda_decoder_steps(spec)
                                               : make_cpu_decoder_steps(spec);
}

}  // namespace torchao_cpp
