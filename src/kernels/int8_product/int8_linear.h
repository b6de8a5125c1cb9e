// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// The quantized activation of one call.
struct Int8Operand {
  const std::int8_t* codes = nullptr;       ///< [M, K]
  const float* scale = nullptr;             ///< [M]
  const std::int8_t* zero_point = nullptr;  ///< [M]; null when there is none
};

/// A linear that is one exact int8 product, and everything about it except the product: the
/// activation's codes and what becomes of a sum. All of it is equal to torchao's CPU result to the
/// bit: the product is integers, and each rounding is torchao's.
class Int8Linear {
 public:
  /// The weight's tensors are shared, not copied.
  explicit Int8Linear(const LinearProblem& problem);

  /// No for a K whose sums could leave int32.
  static Support supports(const LinearProblem& problem);

  /// Bytes of codes, scales and what was made of them.
  std::int64_t nbytes() const noexcept;
  std::int64_t output_size() const noexcept { return weight_.output_size; }
  std::int64_t input_size() const noexcept { return weight_.input_size; }
  /// int8 codes [N, K]
  const std::int8_t* codes() const noexcept { return weight_.qdata.data<std::int8_t>(); }
  /// Sums of the codes of each row [N]
  const std::int32_t* code_sums() const noexcept { return code_sums_.data(); }

  /// Scratch of prepare() for m rows.
  std::int64_t workspace_bytes(std::int64_t m) const noexcept;
  Int8Operand prepare(const LinearArgs& args, std::byte* workspace) const noexcept;

  /// What finish() does, for kernels that do it themselves. Valid as long as this.
  Epilogue epilogue() const noexcept;
  /// y of rows [m0, m0 + rows) and outputs [n0, n0 + columns) from sums [rows, columns].
  void finish(const LinearArgs& args, const Int8Operand& operand, std::int64_t m0,
              std::int64_t rows, std::int64_t n0, std::int64_t columns,
              const std::int32_t* sums) const noexcept;

 private:
  struct Buffers;
  Buffers buffers(std::int64_t m, std::byte* workspace) const noexcept;
  template <DType kDType>
  void finish_run(const LinearArgs& args, const Int8Operand& operand, std::int64_t m,
                  std::int64_t n, std::int64_t count, const std::int32_t* sums) const noexcept;

  QuantizedWeight weight_;
  DType activation_dtype_;               ///< T
  DType compute_dtype_;                  ///< T, promoted by act_pre_scale.
  std::vector<float> column_scale_;      ///< [N]
  std::vector<std::int32_t> code_sums_;  ///< [N]
};

}  // namespace torchao_cpp
