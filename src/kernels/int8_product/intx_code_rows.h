// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/float_product/code_rows.h"
#include "kernels/int8_product/packed_intx_rows.h"

namespace torchao_cpp {

/// The codes of IntxRows (of planes of 64 bytes) as a FloatProduct of bfloat16 takes them, where
/// they lie.
class IntxCodeRows {
 public:
  /// rows: of the weight, as long-lived as this is used.
  IntxCodeRows(const IntxRows& rows, std::int64_t row_count);

  const CodeRows& rows() const noexcept { return rows_; }
  std::int64_t nbytes() const noexcept { return zero_.nbytes(); }

 private:
  CodeRows rows_;
  Tensor zero_;
};

}  // namespace torchao_cpp
