// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/int8_product/intx_product.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp {

/// An integer weight as IntxRows, and the memory behind them.
class PackedIntxRows {
 public:
  /// supports() must have said yes.
  PackedIntxRows(const QuantizedWeight& weight, const IntxProduct& product);

  static Support supports(const QuantizedWeight& weight, const IntxProduct& product);

  const IntxRows& rows() const noexcept { return rows_; }
  /// [N]: sum of (q - zero) * scale over each row.
  const float* value_sums() const noexcept { return value_sums_.data(); }
  std::int64_t nbytes() const noexcept;

 private:
  void set_scales(const QuantizedWeight& weight);

  IntxRows rows_;
  Tensor codes_;
  Tensor scale_;
  std::vector<std::int8_t> zero_;
  std::vector<float> value_sums_;
};

}  // namespace torchao_cpp
