// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/dtype.h"

/// What a decoder computes between its linears, for one instruction set. Activations are arrays of
/// one dtype, float32, float16 or bfloat16; steps are computed in float32. Nothing here is
/// parallel.
namespace torchao_cpp {

/// Positions of a block of keys, which is stored [head_dim, kKeyBlock].
inline constexpr std::int64_t kKeyBlock = 64;

/// Query rows that share one kv head: for each token, in order, `group` heads.
struct AttentionRows {
  const void* keys = nullptr;    ///< [blocks, head_dim, kKeyBlock] of the kv head.
  const void* values = nullptr;  ///< [positions, head_dim]
  const float* q = nullptr;      ///< Of the first token and the first head of the group.
  std::int64_t tokens = 0;
  std::int64_t position = 0;  ///< Of the first token; it sees the keys up to its own.
  std::int64_t group = 0;
  std::int64_t token_stride = 0;  ///< Elements from a token to the next, in q and in the output.
  std::int64_t head_dim = 0;

  std::int64_t rows() const noexcept { return tokens * group; }
};

/// Of each row over some keys: the largest score, and relative to it the sum of the probabilities
/// and of the values weighted with them. A row that sees none has -infinity and zeros.
struct AttentionSums {
  float* values = nullptr;  ///< [rows, head_dim]
  float* maximum = nullptr;
  float* total = nullptr;
};

struct AttentionKernels {
  /// The keys [begin, end) with begin a multiple of kKeyBlock. `scores` has room for rows *
  /// kKeyBlock floats, `block` for (kKeyBlock + rows) * head_dim.
  void (*span)(const AttentionRows& rows, std::int64_t begin, std::int64_t end, float* scores,
               float* block, const AttentionSums& out) noexcept;
  /// `into` becomes the sums over the keys of both.
  void (*merge)(const AttentionSums& from, std::int64_t rows, std::int64_t head_dim,
                const AttentionSums& into) noexcept;
  /// out: as q, of the dtype.
  void (*store)(const AttentionRows& rows, const AttentionSums& sums, void* out) noexcept;
};

/// Steps on one row. Every operation is rounded to the dtype as transformers' eager modules round.
struct RowKernels {
  /// y = weight * cast(x / sqrt(mean(x^2) + eps)); y may be x.
  void (*rms_norm)(const void* x, const void* weight, std::int64_t n, float eps, void* y) noexcept;
  /// y = cast((x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * weight + bias), `weight` and
  /// `bias` null for ones and zeros; y may be x.
  void (*layer_norm)(const void* x, const void* weight, const void* bias, std::int64_t n, float eps,
                     void* y) noexcept;
  /// One head: the norm where `weight` is not null, then, where `cos` is not null, pairs half a
  /// head apart turned by [head_dim / 2] cosines and sines. out: float32 values of the dtype.
  void (*turn_head)(const void* x, const void* weight, float eps, const float* cos,
                    const float* sin, std::int64_t head_dim, float* out) noexcept;
  /// out = silu(gate) * up
  void (*silu_mul)(const void* gate, const void* up, std::int64_t n, void* out) noexcept;
  /// x = x > 0 ? x : 0; NaN stays.
  void (*relu)(void* x, std::int64_t n) noexcept;
  /// x += y
  void (*add)(void* x, const void* y, std::int64_t n) noexcept;
  void (*widen)(const void* x, std::int64_t n, float* out) noexcept;
  void (*narrow)(const float* x, std::int64_t n, void* out) noexcept;
};

/// Steps on logits.
struct LogitKernels {
  /// The largest value; NaN where any is. n >= 1.
  float (*largest)(const float* x, std::int64_t n) noexcept;
  /// out = exp((x - largest) * factor), the same to the bit on every machine.
  void (*weights)(const float* x, std::int64_t n, float largest, float factor, float* out) noexcept;
};

/// Those of the best instruction set that this machine has and TORCHAO_CPP_CPU_ISA allows. Throw
/// Error when that variable names none.
const AttentionKernels& attention_kernels(DType dtype);
const RowKernels& row_kernels(DType dtype);
const LogitKernels& logit_kernels();

// One of each for an instruction set.
const AttentionKernels& attention_kernels_baseline(DType dtype) noexcept;
const AttentionKernels& attention_kernels_avx2(DType dtype) noexcept;
const AttentionKernels& attention_kernels_avx512(DType dtype) noexcept;
const AttentionKernels& attention_kernels_avx512_bf16(DType dtype) noexcept;
const RowKernels& row_kernels_baseline(DType dtype) noexcept;
const RowKernels& row_kernels_avx2(DType dtype) noexcept;
const RowKernels& row_kernels_avx512(DType dtype) noexcept;
const LogitKernels& logit_kernels_baseline() noexcept;
const LogitKernels& logit_kernels_avx2() noexcept;
const LogitKernels& logit_kernels_avx512() noexcept;

}  // namespace torchao_cpp
