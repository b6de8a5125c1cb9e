// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "torchao_cpp/tensor.h"

/// What slicing and stacking share over all block-scaled weights.
namespace torchao_cpp {

/// Elements start:end of one dimension in terms of its scale blocks.
struct BlockSlice {
  std::int64_t block = 1;         ///< Block size of the slice along this dimension.
  std::int64_t scale_start = 0;   ///< First scale.
  std::int64_t scale_length = 1;  ///< Number of scales.
};

/// Throws ShapeError unless dim is 0 or 1 and 0 <= start < end <= size.
void check_slice(std::string_view class_name, int dim, std::int64_t start, std::int64_t end,
                 std::int64_t size);

/// The blocks of a slice: whole blocks, or a part of exactly one (a row scale, a tensor scale).
/// Throws ShapeError, naming the multiples that work, for anything else, because it has no uniform
/// block size.
BlockSlice slice_blocks(std::string_view class_name, int dim, std::int64_t start, std::int64_t end,
                        std::int64_t size, std::int64_t block);

/// True when both are undefined or equal in dtype, shape and bytes.
bool same_or_absent(const Tensor& a, const Tensor& b) noexcept;

}  // namespace torchao_cpp
