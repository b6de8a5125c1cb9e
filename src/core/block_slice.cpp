// SPDX-License-Identifier: Apache-2.0
#include "core/block_slice.h"

#include <fmt/format.h>

#include "torchao_cpp/error.h"

namespace torchao_cpp {

void check_slice(std::string_view class_name, int dim, std::int64_t start, std::int64_t end,
                 std::int64_t size) {
  if (dim != 0 && dim != 1)
    throw ShapeError(fmt::format("{}: slice of dimension {}; expected 0 or 1", class_name, dim));
  if (start < 0 || start >= end || end > size) {
    throw ShapeError(
        fmt::format("{}: slice {}:{} of dimension {} with {} elements is empty or out of range",
                    class_name, start, end, dim, size));
  }
}

BlockSlice slice_blocks(std::string_view class_name, int dim, std::int64_t start, std::int64_t end,
                        std::int64_t size, std::int64_t block) {
  check_slice(class_name, dim, start, end, size);
  const std::int64_t first = start / block;
  if (start % block == 0 && end % block == 0) return {block, first, end / block - first};
  if (first == (end - 1) / block) return {end - start, first, 1};
  throw ShapeError(
      fmt::format("{}: slice {}:{} of dimension {} cuts through scale blocks of {}; start and end "
                  "must be multiples of "
                  "{}, or lie in one block",
                  class_name, start, end, dim, block, block));
}

bool same_or_absent(const Tensor& a, const Tensor& b) noexcept {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return equal_bytes(a, b);
}

}  // namespace torchao_cpp
