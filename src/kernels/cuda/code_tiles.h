// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/products.h"
#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

/// Weights of codes in the order in which matrix units take them (mma.m16n8k16, the weight as its
/// left operand), and their products with values of 16 bits.
namespace torchao_cpp::cuda {

/// What a code of CodeTilesView is.
enum class TileCode : std::uint8_t {
  kInt4,    ///< 4 bits, stored plus 8
  kInt8,    ///< 8 bits, two's complement
  kFloat8,  ///< float8_e4m3fn without NaN
};

/// Tiles of 16 rows, each of chunks of 64 columns. With g = lane / 4, t = lane % 4, and for h, s =
/// 0, 1: columns c = 32 h + 8 t + 4 s .. c + 3 of rows g and g + 8 are what lane holds for two
/// registers each of k = 8 t .. 8 t + 3 of one of the four left operands of a chunk. So 16 bytes of
/// a row of x are a lane's share of two right operands.
///
/// 4 bits: a chunk is 512 bytes, 16 a lane, word 2 h + s of it:
///
///   bits   0-3    4-7      8-11     12-15     16-19   20-23    24-27    28-31
///   code   g,c    g+8,c    g,c+2    g+8,c+2   g,c+1   g+8,c+1  g,c+3    g+8,c+3
///
/// 8 bits: a chunk is 1024 bytes, two halves h of 16 bytes a lane, words 2 s and 2 s + 1 of them:
///
///   byte         0      1        2        3
///   word 2 s     g,c    g+8,c    g,c+1    g+8,c+1
///   word 2 s + 1 g,c+2  g+8,c+2  g,c+3    g+8,c+3
///
/// so that one shift and mask gives the codes of a register. Where there are groups, `scales` is
/// [tile][group][g][2], scales of rows g and g + 8 side by side; with zero points
/// [tile][group][2][g][2], scales first. What lies beyond the weight has code, scale and zero point
/// 0.
struct CodeTilesView {
  static constexpr std::int64_t kRows = 16;
  static constexpr std::int64_t kColumns = 64;

  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t tiles = 0;
  std::int64_t chunks = 0;         ///< Of a tile.
  std::int64_t groups = 0;         ///< Of a tile; 0: the epilogue has the scales.
  int group_shift = 0;             ///< A group has 2^group_shift columns, 32 at least.
  DType dtype = DType::kBFloat16;  ///< Of scales, values and the activation.
  TileCode code = TileCode::kInt4;
  ZeroPointDomain zero_kind = ZeroPointDomain::kNone;
  const std::uint8_t* codes = nullptr;
  /// Zero points are, for kFloat, what is added; for kInt, the zero point plus what codes are
  /// stored with.
  const void* scales = nullptr;

  std::int64_t chunk_bytes() const { return code == TileCode::kInt4 ? 512 : 1024; }
};

/// Rows of x that one product below takes at most.
inline constexpr std::int64_t kTileProductRows = 32;

/// y of at most kTileProductRows rows of x, which is of the weight's dtype; `processors` of the
/// GPU. For codes of 4 bits and of bytes.
void launch_int4_product(const CodeTilesView& weight, const OperandView& x,
                         const Epilogue& epilogue, const EpilogueArgs& args, int processors,
                         void* stream) noexcept;
void launch_byte_product(const CodeTilesView& weight, const OperandView& x,
                         const Epilogue& epilogue, const EpilogueArgs& args, int processors,
                         void* stream) noexcept;

/// Weight rows n0 .. n0 + rows as values [rows, stride]; n0 is a multiple of 16. Scales of the
/// epilogue are not part of them.
void launch_tile_values(const CodeTilesView& weight, std::int64_t n0, std::int64_t rows,
                        std::int64_t stride, void* out, void* stream) noexcept;

}  // namespace torchao_cpp::cuda
