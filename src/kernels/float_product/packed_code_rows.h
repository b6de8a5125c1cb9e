// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/float_product/code_rows.h"
#include "kernels/float_product/float_linear.h"

namespace torchao_cpp {

/// The right operand of a FloatLinear as CodeRows, and the memory behind them. Codes of whole bytes
/// are the weight's own, shared; codes of fewer bits are packed at their width.
class PackedCodeRows {
 public:
  /// In the form that `product` reads. supports() must have said yes.
  PackedCodeRows(const FloatLinear& linear, const FloatProduct& product);

  /// No, with the reason, for what CodeRows cannot say or `product` cannot read.
  static Support supports(const FloatLinear& linear, const FloatProduct& product);

  const CodeRows& rows() const noexcept { return rows_; }
  /// Bytes of codes, scales and zero points.
  std::int64_t nbytes() const noexcept;

 private:
  void set_form(const FloatLinear& linear);
  void pack_fields(const QuantizedWeight& weight, int bits);
  void set_code_values(const QuantizedWeight& weight, int bits);
  void set_scales(const FloatLinear& linear);

  CodeRows rows_;
  Tensor codes_;
  Tensor scale_;
  Tensor zero_;
};

}  // namespace torchao_cpp
