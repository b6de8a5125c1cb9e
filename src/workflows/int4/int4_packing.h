// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/tensor.h"

/// The byte layouts of int4 codes.
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

/// The two orders of Int4PreshuffledTensor, named for the activation: tiles of 16 rows and 16 or 32
/// columns, those of one set of columns together, in which one thread of a warp group of sm90 finds
/// all that it multiplies side by side.
enum class Int4Shuffle : std::uint8_t { kBFloat16, kFloat8 };

/// Columns of a tile; K is a multiple of it, N of kShuffleRows.
constexpr std::int64_t shuffle_columns(Int4Shuffle order) noexcept {
  return order == Int4Shuffle::kBFloat16 ? 16 : 32;
}
inline constexpr std::int64_t kShuffleRows = 16;

/// Nibbles of pack_nibbles [N, K/2] in the order of MSLK's preshuffle_i4, same shape and dtype.
///
/// Tile (n/16, k/c) of c columns is number (k/c) * (N/16) + n/16. With r = n%16 and j = k%c, a nibble
/// of it, counted from the low one of its first byte, is
///
///     bfloat16: r%8 * 32 + j%8 * 4 + j/8 * 2 + r/8
///     float8:   r%8 * 64 + j%16/4 * 16 + j/16 * 8 + r/8 * 4 + j%4
///
/// For float8 a nibble indexes a table of -8 to -1 times the scale and says whether to negate:
/// codes 1..7 become 8 - code, the others stay. Read off an H100 with MSLK 1.1.0.
Tensor shuffle_nibbles(const Tensor& packed, Int4Shuffle order);

/// Inverse of shuffle_nibbles.
Tensor unshuffle_nibbles(const Tensor& shuffled, Int4Shuffle order);

}  // namespace torchao_cpp
