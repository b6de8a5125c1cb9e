// SPDX-License-Identifier: Apache-2.0
#include "workflows/uintx/gemlite_packing.h"

#include <algorithm>

#include "base/parallel.h"

namespace torchao_cpp {
namespace {

// Nibble i of a little-endian element of e / 2 bytes is in byte i / 2, the even one low.
template <typename F>
void for_code_pairs(std::int64_t n, std::int64_t k, std::int64_t elements_per_sample, const F& fn) {
  const std::int64_t item = elements_per_sample / 2;
  parallel_for(n, std::max<std::int64_t>(1, 65536 / k), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0; c < k; c += 2) {
        const std::int64_t byte =
            (c / elements_per_sample * n + row) * item + c % elements_per_sample / 2;
        fn(row * k + c, byte);
      }
    }
  });
}

}  // namespace

DType gemlite_packed_dtype(std::int64_t elements_per_sample) noexcept {
  if (elements_per_sample == 2) return DType::kUInt8;
  return elements_per_sample == 4 ? DType::kInt16 : DType::kInt32;
}

Tensor pack_gemlite_int4(const Tensor& codes, std::int64_t elements_per_sample) {
  const std::int64_t n = codes.shape()[0];
  const std::int64_t k = codes.shape()[1];
  Tensor packed =
      Tensor::empty(gemlite_packed_dtype(elements_per_sample), {k / elements_per_sample, n});
  auto* to = packed.mutable_data<std::uint8_t>();
  const auto* q = codes.data<std::uint8_t>();
  for_code_pairs(n, k, elements_per_sample, [&](std::int64_t code, std::int64_t byte) {
    to[byte] = static_cast<std::uint8_t>(q[code] | q[code + 1] << 4);
  });
  return packed;
}

Tensor unpack_gemlite_int4(const Tensor& packed) {
  const std::int64_t elements_per_sample = 2 * dtype_size_bytes(packed.dtype());
  const std::int64_t n = packed.shape()[1];
  const std::int64_t k = packed.shape()[0] * elements_per_sample;
  Tensor codes = Tensor::empty(DType::kInt8, {n, k});
  auto* q = codes.mutable_data<std::uint8_t>();
  const auto* from = packed.data<std::uint8_t>();
  for_code_pairs(n, k, elements_per_sample, [&](std::int64_t code, std::int64_t byte) {
    q[code] = from[byte] & 15;
    q[code + 1] = from[byte] >> 4;
  });
  return codes;
}

}  // namespace torchao_cpp
