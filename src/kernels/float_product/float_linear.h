// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// The operand of a float product that comes from the activation.
struct FloatOperand {
  const float* values = nullptr;     ///< [M, K]; null where `bfloat16` has them.
  const float* row_scale = nullptr;  ///< [M, K / segment()], multiplies the sums; null = 1.
  const void* bfloat16 = nullptr;    ///< [M, K]
};

/// A linear that is one float product, and everything about it except the product itself: how the
/// activation becomes the left operand, how rows of the weight become the right one, and how a sum
/// becomes an output. Kernels differ in the product alone.
///
/// Sums are float32 of operands that are values of the compute dtype, or bare codes where torchao
/// multiplies those. Rounding follows spec step by step: each place that torchao rounds is a
/// round_to() here.
class FloatLinear {
 public:
  /// The weight's tensors are shared, not copied: codes stay as the description has them.
  explicit FloatLinear(const LinearProblem& problem);

  /// Bytes of codes, scales and what was made of them.
  std::int64_t nbytes() const noexcept;
  std::int64_t output_size() const noexcept { return output_size_; }
  std::int64_t input_size() const noexcept { return input_size_; }
  /// Columns that one sum covers: K, or less where scales of both operands lie along K.
  std::int64_t segment() const noexcept { return segment_; }
  /// The plain float32 weight [N, K] when that is what read_weight gives; else null.
  const float* plain_float32() const noexcept;

  bool is_plain() const noexcept { return is_plain_; }
  /// The plain weight; undefined when quantized.
  const Tensor& plain() const noexcept { return plain_; }
  /// The quantized weight; empty when plain.
  const QuantizedWeight& weight() const noexcept { return weight_; }
  DType compute_dtype() const noexcept { return compute_dtype_; }
  /// Whether the right operand is bare codes.
  bool multiplies_codes() const noexcept { return multiplies_codes_; }
  /// The dtype that codes are scaled in.
  DType value_dtype() const noexcept;
  /// Scale and zero point of a block, in the order of the weight's tensors.
  float block_scale(std::int64_t block) const noexcept;
  float block_zero_point(std::int64_t block) const noexcept;
  /// What one byte of a scale of bytes (float8_e4m3fn, float8_e8m0fnu) stands for.
  float byte_scale(std::uint8_t byte) const noexcept;
  /// For kernels that made their own form of the right operand: lets go of codes, scales and zero
  /// points. read_weight(), block_scale() and block_zero_point() must not be called any more.
  void release_weight() noexcept;

  /// Scratch of prepare() for m rows.
  std::int64_t workspace_bytes(std::int64_t m) const noexcept;
  /// The left operand of args.x, in `workspace` or, where nothing changes, args.x itself. float32,
  /// unless `may_be_bfloat16` and bfloat16 is what it is.
  FloatOperand prepare(const LinearArgs& args, std::byte* workspace,
                       bool may_be_bfloat16 = false) const noexcept;

  /// Right operand: `count` values of weight row n from column `begin`.
  void read_weight(std::int64_t n, std::int64_t begin, std::int64_t count,
                   float* out) const noexcept;

  /// Scale of the sum of row m, output n and segment s (only where there are several segments).
  float segment_scale(const FloatOperand& operand, std::int64_t m, std::int64_t n,
                      std::int64_t s) const noexcept;

  /// What finish() does, for kernels that do it themselves. Valid as long as this.
  Epilogue epilogue() const noexcept;
  /// y of rows [m0, m0 + rows) and outputs [n0, n0 + columns) from sums [rows, columns].
  void finish(const LinearArgs& args, const FloatOperand& operand, std::int64_t m0,
              std::int64_t rows, std::int64_t n0, std::int64_t columns,
              const float* sums) const noexcept;

 private:
  struct Buffers;
  Buffers buffers(std::int64_t m, std::byte* workspace) const noexcept;
  bool is_scaled_activation() const noexcept;
  bool has_code_activation() const noexcept;
  FloatOperand read_float8_activation(const struct ActivationView& x,
                                      const Buffers& b) const noexcept;
  FloatOperand read_nvfp4_activation(const struct ActivationView& x,
                                     const Buffers& b) const noexcept;
  void read_codes(std::int64_t n, std::int64_t begin, std::int64_t count,
                  float* out) const noexcept;
  void scale_codes(std::int64_t n, std::int64_t begin, std::int64_t count,
                   float* out) const noexcept;
  template <DType kDType>
  void finish_run(const LinearArgs& args, std::int64_t m, std::int64_t n, std::int64_t count,
                  float row_scale, const float* sums) const noexcept;
  void choose_column_scale();

  bool is_plain_ = false;
  Tensor plain_;
  QuantizedWeight weight_;
  DType activation_dtype_;  ///< T
  DType compute_dtype_;     ///< T, but for weights that say otherwise and for act_pre_scale.
  std::int64_t output_size_ = 0;
  std::int64_t input_size_ = 0;
  std::int64_t segment_ = 0;
  bool multiplies_codes_ = false;  ///< read_weight gives bare codes; scales come after the sum.
  bool rounds_product_ = false;    ///< The sum is rounded before it is scaled.
  bool rounds_before_bias_ = false;
  std::vector<float> column_scale_;       ///< [N]; empty = 1.
  std::array<float, 256> code_values_{};  ///< Of every code byte (or nibble).
};

}  // namespace torchao_cpp
