// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_dequantize.h"

#include "base/parallel.h"
#include "core/float_formats.h"

namespace torchao_cpp {

Tensor Int4Dequantize::operator()(std::int64_t n, std::int64_t k, DType output_dtype) const {
  const std::int64_t row_codes = codes.shape()[1];
  const std::int64_t row_groups = scale.shape()[1];
  Tensor out = Tensor::empty(output_dtype, {n, k});
  std::byte* data = out.mutable_bytes();
  const auto* q = codes.data<std::int8_t>();
  parallel_for(n, k > 65536 ? 1 : 65536 / k, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t g = 0; g < k / group_size; ++g) {
        const float s = load_float(scale.dtype(), scale.bytes(), r * row_groups + g);
        const float z = load_float(zero_point.dtype(), zero_point.bytes(), r * row_groups + g);
        for (std::int64_t c = g * group_size; c < (g + 1) * group_size; ++c) {
          const float product = static_cast<float>(q[r * row_codes + c] - code_offset) * s;
          store_float(output_dtype, data, r * k + c, product + z);
        }
      }
    }
  });
  return out;
}

}  // namespace torchao_cpp
