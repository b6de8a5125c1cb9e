// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

/// The two public byte layouts of int4 codes.
namespace torchao_cpp {

/// Rows of K codes (K even), one a byte, to [N, K/2]: column 2j in the low nibble of byte j, column
/// 2j+1 in the high one; the low four bits of each code are kept, so -8..7 becomes two's
/// complement. Result dtype int8.
Tensor pack_nibbles(const Tensor& codes);

/// pack_nibbles of `bytes` bytes, from twice as many codes.
void pack_nibble_run(const std::int8_t* codes, std::int64_t bytes, std::int8_t* packed) noexcept;

/// Inverse of pack_nibbles with the sign restored: int8 [N, K], -8..7.
Tensor unpack_nibbles(const Tensor& packed);

/// Codes 0..15 [N, K] (int8; N a multiple of 8, K of 128) to the tiles of torch's
/// _convert_weight_to_int4pack with inner_k_tiles = 8: int32 [N/8, K/128, 32, 4].
///
/// Code (n, k) goes to word [n/8][k/128][lane][j] with j = k%128/32, r = k%32, lane = n%8*4 +
/// r%8/2, nibble r/8 + 4*(r%2) counted from the least significant: a word holds columns r0, r0+8,
/// r0+16, r0+24 and then their odd neighbours.
Tensor pack_tiles(const Tensor& codes);

/// Inverse of pack_tiles: int8 [N, K], 0..15.
Tensor unpack_tiles(const Tensor& tiles);

}  // namespace torchao_cpp
