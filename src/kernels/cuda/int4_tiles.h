// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/products.h"
#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

/// int4 weights in the order in which matrix units take them (mma.m16n8k16, the weight as its left
/// operand).
namespace torchao_cpp::cuda {

/// Tiles of 16 rows, each of chunks of 64 columns, each of 512 bytes: 16 bytes a lane, so that a
/// warp reads a chunk in one go and a tile from end to end. With g = lane / 4, t = lane % 4, word 2
/// h + s (h, s = 0, 1) of a lane holds columns c = 32 h + 8 t + 4 s .. c + 3 of rows g and g + 8:
///
///   bits   0-3    4-7      8-11     12-15     16-19   20-23    24-27    28-31
///   code   g,c    g+8,c    g,c+2    g+8,c+2   g,c+1   g+8,c+1  g,c+3    g+8,c+3
///
/// so that one shift and mask gives two codes in the halves of 32 bits. Codes are stored plus 8.
/// Scales are [tile][group][g][2]: those of rows g and g + 8 side by side; zero points as scales.
/// Rows and columns beyond the weight have scale and zero point 0.
struct Int4TilesView {
  static constexpr std::int64_t kRows = 16;
  static constexpr std::int64_t kColumns = 64;
  static constexpr std::int64_t kChunkBytes = kRows * kColumns / 2;

  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t tiles = 0;
  std::int64_t chunks = 0;         ///< Of a tile.
  std::int64_t groups = 0;         ///< Of a tile.
  int group_shift = 0;             ///< A group has 2^group_shift columns, 32 at least.
  DType dtype = DType::kBFloat16;  ///< Of scales, values and the activation.
  ZeroPointDomain zero_kind = ZeroPointDomain::kNone;
  const std::uint8_t* codes = nullptr;
  const void* scale = nullptr;
  const void* zero =
      nullptr;  ///< kFloat: what is added. kInt: the zero point plus what codes are stored with.
};

/// Rows of x that one launch_int4() takes at most.
inline constexpr std::int64_t kInt4Rows = 32;

/// y of at most kInt4Rows rows of x, which is of the weight's dtype; `processors` of the GPU.
void launch_int4(const Int4TilesView& weight, const OperandView& x, const Epilogue& epilogue,
                 const EpilogueArgs& args, int processors, void* stream) noexcept;

/// Weight rows n0 .. n0 + rows as values [rows, stride]; n0 is a multiple of 16.
void launch_int4_dequantize(const Int4TilesView& weight, std::int64_t n0, std::int64_t rows,
                            std::int64_t stride, void* out, void* stream) noexcept;

}  // namespace torchao_cpp::cuda
