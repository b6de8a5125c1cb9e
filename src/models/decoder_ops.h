// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "models/kv_cache.h"
#include "models/rotary_embedding.h"
#include "torchao_cpp/tensor.h"

/// The steps of a decoder layer between its linears. Activations are arrays of the compute dtype;
/// every step is computed in float32 and rounded where transformers rounds (its eager modules, one
/// rounding an operation).
namespace torchao_cpp {

/// Rows of an activation whose row r starts at data + r * row_stride elements.
struct RowView {
  const std::byte* data = nullptr;
  std::int64_t row_stride = 0;
};

/// y = weight * cast(x / sqrt(mean(x^2) + eps)), rows of weight.numel() elements of weight's dtype.
/// y may be x.
void rms_norm(const Tensor& weight, float eps, const void* x, std::int64_t rows, void* y) noexcept;

/// Weights of a norm; undefined: ones, zeros.
struct NormWeights {
  Tensor weight;
  Tensor bias;

  std::int64_t nbytes() const noexcept {
    return (weight.defined() ? weight.nbytes() : 0) + (bias.defined() ? bias.nbytes() : 0);
  }
};

/// y = cast((x - mean) / sqrt(variance + eps) * weight + bias), rows of n elements. y may be x.
void layer_norm(DType dtype, const NormWeights& norm, float eps, const void* x, std::int64_t rows,
                std::int64_t n, void* y) noexcept;

/// x = max(x, 0), n elements.
void relu_in_place(DType dtype, void* x, std::int64_t n) noexcept;

/// x += y, n elements.
void add_in_place(DType dtype, void* x, const void* y, std::int64_t n) noexcept;

/// out[r, i] = silu(gate[r, i]) * up[r, i], out [rows, cols] contiguous.
void silu_mul(DType dtype, RowView gate, RowView up, std::int64_t rows, std::int64_t cols,
              void* out) noexcept;

/// Largest head_dim that transform_qkv takes.
inline constexpr std::int64_t kMaxHeadDim = 512;

/// Heads of q and k: optional norm weights over head_dim (undefined = none), and whether there is a
/// rotation.
struct HeadTransform {
  std::int64_t num_heads = 0;
  std::int64_t num_kv_heads = 0;
  std::int64_t head_dim = 0;
  Tensor q_norm;
  Tensor k_norm;
  float eps = 0;
  bool rotates = true;
};

/// q, k and v of the same tokens, as the linears gave them.
struct QkvRows {
  RowView q;
  RowView k;
  RowView v;
};

/// Where a token stands: which sequence and where in it.
struct TokenPlace {
  KvCache* cache = nullptr;
  std::int64_t position = 0;
};

/// Norms and rotates q and k of one token for each place; `rope` may be null where nothing rotates.
/// q goes to `q_out`, float32 [rows,
/// num_heads, head_dim] (values of the compute dtype); k and v go to `layer` of the places' caches,
/// which have one dtype.
void transform_qkv(const HeadTransform& transform, const RotaryEmbedding* rope, const QkvRows& qkv,
                   std::span<const TokenPlace> places, std::int64_t layer, float* q_out) noexcept;

/// hidden[r] += table[places[r].position + offset], rows of the table's dtype.
void add_positions(const Tensor& table, std::int64_t offset, std::span<const TokenPlace> places,
                   void* hidden) noexcept;

/// The largest; NaN where any is. At least one.
float largest_logit(std::span<const float> logits) noexcept;

/// out[i] = exp((logits[i] - largest) / temperature), as many as logits; the same on every machine.
void logit_weights(std::span<const float> logits, float largest, double temperature,
                   float* out) noexcept;

/// out[i] = float32 of x[i].
void widen(DType dtype, const void* x, std::int64_t n, float* out) noexcept;

}  // namespace torchao_cpp
