// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// gemlite's bit packing over K, transposed: code [n, k] is nibble k % e of element [k / e, n], e =
/// elements_per_sample, nibble 0 in the lowest bits.
/// `codes` int8 [N, K], 0..15, one a byte; e divides K. Returns [K / e, N]: uint8 (e = 2), int16
/// (4) or int32 (8). Source: gemlite 0.5.1 bitpack.py, pack_weights_over_cols.
Tensor pack_gemlite_int4(const Tensor& codes, std::int64_t elements_per_sample);

/// The reverse: codes int8 [N, K] of `packed` [K / e, N].
Tensor unpack_gemlite_int4(const Tensor& packed);

/// Dtype of the elements that hold so many 4-bit codes.
DType gemlite_packed_dtype(std::int64_t elements_per_sample) noexcept;

}  // namespace torchao_cpp
