// SPDX-License-Identifier: Apache-2.0
#include "kernels/int8_product/intx_code_rows.h"

#include "core/float_formats.h"

namespace torchao_cpp {

IntxCodeRows::IntxCodeRows(const IntxRows& rows, std::int64_t row_count) {
  const int offset = 1 << (rows.bits - 1);
  rows_.form = CodeForm::kFields;
  rows_.bits = rows.bits;
  rows_.lanes = 64;
  rows_.lane_bytes = 1;
  rows_.codes = rows.codes;
  rows_.row_bytes = rows.row_bytes;
  rows_.rows = row_count;
  rows_.columns = rows.columns;
  rows_.code_offset = static_cast<float>(offset);
  for (int i = 0; i < 128; ++i)
    rows_.code_values[i] = static_cast<float>((i & (2 * offset - 1)) - offset);
  rows_.is_scaled = true;
  rows_.rounding = ValueRounding::kBFloat16;
  rows_.block_columns = rows.group_columns;
  rows_.blocks_per_row = rows.groups;
  rows_.scale_form = rows.has_bfloat16_scales ? ScaleForm::kBFloat16 : ScaleForm::kFloat32;
  rows_.scale = rows.scale;
  if (rows.zero == nullptr) return;
  rows_.zero_kind = CodeZero::kInt;
  const DType dtype = rows.has_bfloat16_scales ? DType::kBFloat16 : DType::kFloat32;
  zero_ = Tensor::empty(dtype, {row_count, rows.groups});
  for (std::int64_t i = 0; i < zero_.numel(); ++i)
    store_float(dtype, zero_.mutable_bytes(), i, rows.zero[i]);
  rows_.zero = zero_.bytes();
}

}  // namespace torchao_cpp
