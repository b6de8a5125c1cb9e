// SPDX-License-Identifier: Apache-2.0
#include "core/blocked_scales.h"

#include <fmt/format.h>

#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kTileRows = 128;
constexpr std::int64_t kTileColumns = 4;
constexpr std::int64_t kTileBytes = kTileRows * kTileColumns;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) noexcept { return (a + b - 1) / b; }

std::int64_t blocked_index(std::int64_t row, std::int64_t column,
                           std::int64_t tiles_across) noexcept {
  const std::int64_t tile = row / kTileRows * tiles_across + column / kTileColumns;
  return tile * kTileBytes + row % 32 * 16 + row % kTileRows / 32 * 4 + column % kTileColumns;
}

}  // namespace

Shape blocked_scale_shape(std::int64_t rows, std::int64_t columns) {
  return {32 * ceil_div(rows, kTileRows), 16 * ceil_div(columns, kTileColumns)};
}

Tensor to_blocked(const Tensor& scale) {
  const std::int64_t rows = scale.size(0);
  const std::int64_t columns = scale.size(1);
  Tensor blocked = Tensor::zeros(scale.dtype(), blocked_scale_shape(rows, columns));
  const std::int64_t tiles_across = ceil_div(columns, kTileColumns);
  const std::byte* from = scale.bytes();
  std::byte* to = blocked.mutable_bytes();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j)
      to[blocked_index(i, j, tiles_across)] = from[i * columns + j];
  }
  return blocked;
}

Tensor from_blocked(const Tensor& blocked, std::int64_t rows, std::int64_t columns) {
  const Shape expected = blocked_scale_shape(rows, columns);
  if (blocked.shape() != expected) {
    throw ShapeError(
        fmt::format("swizzled scales of a [{}, {}] scale matrix have shape {}; expected {}", rows,
                    columns, shape_to_string(blocked.shape()), shape_to_string(expected)));
  }
  Tensor scale = Tensor::empty(blocked.dtype(), {rows, columns});
  const std::int64_t tiles_across = ceil_div(columns, kTileColumns);
  const std::byte* from = blocked.bytes();
  std::byte* to = scale.mutable_bytes();
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j)
      to[i * columns + j] = from[blocked_index(i, j, tiles_across)];
  }
  return scale;
}

}  // namespace torchao_cpp
