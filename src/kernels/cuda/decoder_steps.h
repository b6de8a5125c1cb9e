// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "torchao_cpp/dtype.h"

/// What a decoder computes between its linears, on a GPU. Everything is queued on a stream (a
/// cudaStream_t); pointers are the device's; `dtype` is that of activations. Each operation rounds
/// as the CPU's RowKernels do.
namespace torchao_cpp::cuda {

/// Where the keys and values of a sequence begin: [layers, kv heads, positions, head_dim] each.
struct CacheView {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  std::int64_t head_stride = 0;   ///< Elements from a head to the next.
  std::int64_t layer_stride = 0;  ///< Elements from a layer to the next.
};

/// One row of a forward: a token and where it stands.
struct TokenRow {
  std::int32_t id = 0;
  std::int32_t sequence = 0;  ///< Its place among the caches.
  std::int32_t position = 0;
  std::int32_t unused = 0;
};

/// Rows of an activation whose row r starts at data + r * stride elements.
struct RowsView {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;
};

struct NormArgs {
  const void* weight = nullptr;  ///< [columns]; null for ones, of launch_add_and_layer_norm.
  float eps = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  void* hidden = nullptr;
  const void* delta = nullptr;  ///< Added to `hidden` first, or null.
  void* out = nullptr;          ///< May be `delta` or `hidden`.
  const void* bias = nullptr;   ///< [columns] or null for zeros, of launch_add_and_layer_norm.
};
/// out = weight * cast(hidden / sqrt(mean(hidden^2) + eps))
void launch_add_and_norm(DType dtype, const NormArgs& args, void* stream) noexcept;

/// out = cast((hidden - mean) / sqrt(variance + eps) * weight + bias)
void launch_add_and_layer_norm(DType dtype, const NormArgs& args, void* stream) noexcept;

/// hidden[r] += table[tokens[r].position + offset], rows of `columns` elements.
void launch_add_positions(DType dtype, const void* table, const TokenRow* tokens,
                          std::int64_t offset, std::int64_t rows, std::int64_t columns,
                          void* hidden, void* stream) noexcept;

struct QkvArgs {
  RowsView q, k, v;
  std::int64_t rows = 0;
  std::int32_t num_heads = 0;
  std::int32_t num_kv_heads = 0;
  std::int32_t head_dim = 0;
  const void* q_norm = nullptr;  ///< [head_dim] or null.
  const void* k_norm = nullptr;
  float eps = 0;
  const float* cos = nullptr;  ///< [positions, head_dim / 2], or null: nothing is rotated.
  const float* sin = nullptr;
  const TokenRow* tokens = nullptr;
  const CacheView* caches = nullptr;
  std::int64_t layer = 0;
  void* q_out = nullptr;  ///< [rows, num_heads, head_dim]
};
/// Norms where there is one, and rotates q and k; k and v go to the caches.
void launch_transform_qkv(DType dtype, const QkvArgs& args, void* stream) noexcept;

/// out[r, i] = silu(gate[r, i]) * up[r, i], out [rows, columns].
void launch_silu_mul(DType dtype, const RowsView& gate, const RowsView& up, std::int64_t rows,
                     std::int64_t columns, void* out, void* stream) noexcept;

/// x = max(x, 0), `count` elements.
void launch_relu(DType dtype, void* x, std::int64_t count, void* stream) noexcept;

/// out[i] = from[picked[i]], rows of `row_bytes` bytes, a multiple of 2.
void launch_gather_rows(const void* from, const std::int32_t* picked, std::int64_t count,
                        std::int64_t row_bytes, void* out, void* stream) noexcept;

/// The first of the largest of some values; NaN where any is.
struct BestValue {
  float value = 0;
  std::int32_t index = 0;
};
/// Parts of a row of which each has a best value of its own.
inline constexpr std::int64_t kBestParts = 32;
/// out [rows, kBestParts]; a part without values has the row's first one.
void launch_best_of_rows(DType dtype, const void* values, std::int64_t rows, std::int64_t columns,
                         BestValue* out, void* stream) noexcept;
/// Of two, the one that has the row's: NaN before all numbers, then the larger, then the first.
constexpr BestValue better(const BestValue& a, const BestValue& b) noexcept {
  const bool a_nan = a.value != a.value;
  const bool b_nan = b.value != b.value;
  if (a_nan != b_nan) return a_nan ? a : b;
  if (a.value != b.value && !a_nan) return a.value > b.value ? a : b;
  return a.index <= b.index ? a : b;
}

/// Tokens of one sequence that attend together: rows first_row .. first_row + tokens.
struct AttentionTile {
  std::int32_t first_row = 0;
  std::int32_t sequence = 0;
  std::int32_t position = 0;  ///< Of the first token, which sees the keys up to its own.
  std::int32_t tokens = 0;
};

struct AttentionArgs {
  const void* q = nullptr;  ///< [rows, num_heads, head_dim]
  void* out = nullptr;      ///< As q.
  const CacheView* caches = nullptr;
  std::int64_t layer = 0;
  const AttentionTile* tiles = nullptr;
  std::int32_t tile_count = 0;
  std::int32_t num_heads = 0;
  std::int32_t num_kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t splits = 1;            ///< Blocks that share the keys of a tile; 1 but for kDecode.
  float* partial = nullptr;           ///< attention_partial_floats(): sums of splits.
  std::uint32_t* counters = nullptr;  ///< [tile_count * num_kv_heads], zero before and after.
};

/// Kernels for attention: one that takes all sizes, and two with matrix units.
enum class AttentionKernel : std::uint8_t { kAnySize, kPrefill, kDecode };

/// Rows (tokens times heads of a kv head) of one tile that a kernel takes at most; kAnySize: 1
/// token.
inline constexpr std::int32_t kPrefillRows = 64;
inline constexpr std::int32_t kDecodeRows = 16;
/// Splits at most.
inline constexpr std::int32_t kMostSplits = 256;
/// Keys that blocks go through at a time: splits are made of whole ones.
inline constexpr std::int32_t kAttentionKeys = 64;

/// The kernel for tiles of one token each, or of several.
AttentionKernel choose_attention(DType dtype, std::int32_t group, std::int32_t head_dim,
                                 bool is_decode, int capability) noexcept;
/// For `blocks` blocks, that is tiles * kv heads * splits.
constexpr std::int64_t attention_partial_floats(std::int64_t blocks, std::int64_t head_dim) {
  return blocks * kDecodeRows * (head_dim + 2);
}
/// Causal softmax(q kᵀ / sqrt(head_dim)) v. The result does not depend on the order in which blocks
/// end.
void launch_attention(DType dtype, AttentionKernel kernel, const AttentionArgs& args,
                      void* stream) noexcept;

}  // namespace torchao_cpp::cuda
