// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_parts.h"

#include <fmt/format.h>

#include <cstring>

namespace torchao_cpp {

Int4Layout read_int4_layout(const PartsReader& reader, DType dtype,
                            std::int64_t codes_per_element) {
  const auto [n, elements] = reader.matrix_shape("qdata");
  const std::int64_t k = elements * codes_per_element;
  reader.expect_dtype("qdata", {dtype});
  const auto shape = reader.integers("shape", 2);
  if (shape[0] != n || shape[1] != k) {
    reader.fail("ao.shape_mismatch",
                fmt::format("'shape' is [{}, {}] but 'qdata' [{}, {}] holds [{}, {}]", shape[0],
                            shape[1], n, elements, n, k));
  }
  const BlockSize block = reader.block_size("block_size", n, k);
  if (block[0] != 1) {
    reader.fail(
        "ao.shape_mismatch",
        fmt::format("'block_size' is [{}, {}]; expected [1, group_size]", block[0], block[1]));
  }
  return {n, k, block[1]};
}

Tensor concat_columns(std::span<const Tensor> parts) {
  Shape shape = parts.front().shape();
  shape[1] = 1;
  const std::int64_t column_bytes =
      shape_numel(shape) / shape[0] * dtype_size_bytes(parts.front().dtype());
  shape[1] = 0;
  for (const Tensor& part : parts) shape[1] += part.shape()[1];
  Tensor out = Tensor::empty(parts.front().dtype(), shape);
  std::byte* to = out.mutable_bytes();
  for (std::int64_t g = 0; g < shape[0]; ++g) {
    for (const Tensor& part : parts) {
      const std::int64_t bytes = part.shape()[1] * column_bytes;
      std::memcpy(to, part.bytes() + g * bytes, static_cast<std::size_t>(bytes));
      to += bytes;
    }
  }
  return out;
}

}  // namespace torchao_cpp
