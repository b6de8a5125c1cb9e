// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// code * scale + zero_point in float32, rounded once to `output_dtype`, for the leading n rows and
/// k columns. codes int8 [>= n, >= k] with `code_offset` subtracted first; scale, zero_point [rows
/// of codes, columns / group_size].
struct Int4Dequantize {
  Tensor codes;
  Tensor scale;
  Tensor zero_point;
  std::int64_t group_size = 0;
  int code_offset = 0;

  Tensor operator()(std::int64_t n, std::int64_t k, DType output_dtype) const;
};

}  // namespace torchao_cpp
