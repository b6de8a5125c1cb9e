// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "models/decoder_config.h"
#include "models/decoder_ops.h"
#include "models/kv_cache.h"
#include "torchao_cpp/linear.h"

namespace torchao_cpp {

/// Consecutive tokens of one sequence: `ids` stand at position, position + 1, ... of the sequence
/// in `cache`. At least one id, each in the vocabulary; the cache has room for them.
struct SequenceTokens {
  std::span<const std::int32_t> ids;
  std::int64_t position = 0;
  KvCache* cache = nullptr;
};

/// The largest logit of a row, NaN where any is, and the first id that has it.
struct BestLogit {
  float logit = 0;
  std::int32_t id = 0;
};

/// What a decoder needs from its steps.
struct DecoderStepsSpec {
  const DecoderConfig& config;
  DType dtype = DType::kBFloat16;
  Device device;
  std::int64_t max_rows = 0;    ///< Tokens of one forward.
  std::int64_t max_length = 0;  ///< Of a sequence.
  std::int64_t max_batch = 1;   ///< Sequences of one forward.
};

/// Everything that a decoder computes but its linears, on one device. start() takes the tokens that
/// the other steps then work on. Activations are the device's memory, in the model's dtype. On a
/// GPU steps queue their work on stream() and return; what reads values back waits for it.
class DecoderSteps {
 public:
  virtual ~DecoderSteps() = default;

  /// Steps return before they are done: the clock tells nothing about one of them.
  virtual bool is_asynchronous() const noexcept = 0;
  /// What linears between the steps must run on.
  virtual Stream stream() const noexcept = 0;

  virtual void start(std::span<const SequenceTokens> sequences) noexcept = 0;
  /// Calls `steps`, all of the forward for the tokens at hand; where a device can queue again what
  /// was queued for tokens like these, that instead. The same for every call of one model.
  virtual void run(const std::function<void()>& steps) noexcept = 0;

  /// hidden [rows, table.embedding_dim()]
  virtual void embed(const Embedding& table, void* hidden) noexcept = 0;
  /// hidden [rows, hidden_size] += the row of each token's position in the table of learned ones.
  virtual void add_positions(const Tensor& table, void* hidden) noexcept = 0;
  /// hidden += delta, unless that is null; out = norm of hidden, of the architecture's kind. `out`
  /// may be `delta` or `hidden`.
  virtual void add_and_norm(const NormWeights& norm, void* hidden, const void* delta,
                            void* out) noexcept = 0;
  /// Queries are kept for attend(); keys and values go to the caches.
  virtual void transform_qkv(const HeadTransform& transform, const QkvRows& qkv,
                             std::int64_t layer) noexcept = 0;
  /// out [rows, num_heads * head_dim]
  virtual void attend(std::int64_t layer, void* out) noexcept = 0;
  /// out [rows, intermediate_size] = silu(gate) * up
  virtual void silu_mul(RowView gate, RowView up, void* out) noexcept = 0;

  /// x [rows, intermediate_size] = max(x, 0)
  virtual void relu(void* x) noexcept = 0;

  /// The rows [count, embedding_dim] of the last token of each of the first `count` sequences;
  /// those of `rows` may be lost.
  virtual const void* last_rows(void* rows, std::int64_t count) noexcept = 0;
  /// Values of the dtype as float32 in host memory. Throws DeviceError for an error of anything
  /// that was queued before.
  virtual void read_floats(const void* values, std::int64_t count, float* out) = 0;
  /// Of `rows` rows of vocab_size logits each. Throws as read_floats does.
  virtual void read_best(const void* logits, std::int64_t rows, BestLogit* out) = 0;
};

/// Throws Error as Attention does, on a GPU DeviceError and UnsupportedError.
std::unique_ptr<DecoderSteps> make_decoder_steps(const DecoderStepsSpec& spec);
std::unique_ptr<DecoderSteps> make_cpu_decoder_steps(const DecoderStepsSpec& spec);
/// Throws UnsupportedError in a build without CUDA.
std::unique_ptr<DecoderSteps> make_cuda_decoder_steps(const DecoderStepsSpec& spec);

}  // namespace torchao_cpp
