// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/code_tiles.h"

/// Products of tiles with more rows of x, by wgmma (compute capability 9.0a): codes are read once
/// for up to 256 rows and become values in registers.
namespace torchao_cpp::cuda {

/// What a GPU has for them.
struct WgmmaDevice {
  bool has_wgmma = false;
  int processors = 0;
  /// Clusters of i blocks, each with a multiprocessor to itself, that run at once.
  int clusters[9] = {};
};

/// All zero where the build or the GPU has no wgmma.
WgmmaDevice wgmma_device(int index) noexcept;

/// How a product is shared out: 128 rows of the weight and `x_rows` of x a block.
struct WgmmaPlan {
  int x_rows = 0;         ///< 32, 64, 128 or 256
  int x_tiles = 0;        ///< Of x_rows rows.
  int stages = 0;         ///< Steps along K.
  int splits = 1;         ///< Blocks of a cluster that share K.
  int pairs = 1;          ///< Blocks of a cluster that share what is read of x.
  int clusters = 0;       ///< In the grid; each takes one item after another.
  int items = 0;          ///< Of 128 rows of the weight (times `pairs`) and x_rows rows of x.
  bool is_alone = false;  ///< A block has a multiprocessor to itself.
};

/// Chunks of the weight in a stage: few rows of x leave room for longer ones.
constexpr int wgmma_chunks(int x_rows) { return x_rows <= 64 ? 2 : 1; }

/// Blocks that a multiprocessor holds.
constexpr int wgmma_blocks(int x_rows) { return x_rows <= 64 ? 2 : 1; }

/// Whether blocks of so many rows of x can share K: two on a multiprocessor that have 64 rows each
/// have no registers left to add up what others multiplied.
constexpr bool wgmma_shares_k(int x_rows) { return x_rows != 64; }

WgmmaPlan plan_wgmma(const CodeTilesView& weight, std::int64_t rows,
                     const WgmmaDevice& device) noexcept;

/// Bytes of what launch_x_tiles() makes of up to `rows` rows.
constexpr std::int64_t x_tiles_bytes(std::int64_t rows, std::int64_t k) {
  return (rows + 255) / 256 * 256 * ((k + 127) / 128 * 128) * 2;
}

/// x [rows, K], of two bytes an element, in the plan's order: for every tile of x_rows rows and
/// every 64 columns, x_rows rows of 128 bytes. With columns 32 h + 8 t + 4 s + 2 i (+ 1) of a row,
/// their 4 bytes are word t of the 16-byte piece (4 h + 2 s + i) ^ (row % 8): the columns lie in
/// the order of the weight's registers and the pieces as wgmma swizzles them. Zeros beyond x.
void launch_x_tiles(const OperandView& x, std::int64_t k, const WgmmaPlan& plan, void* out,
                    void* stream) noexcept;

/// y of all rows of x, whose tiles are `x_tiles`; for codes of 4 bits and of bytes.
void launch_int4_wgmma(const CodeTilesView& weight, const WgmmaPlan& plan, const void* x_tiles,
                       std::int64_t rows, const Epilogue& epilogue, const EpilogueArgs& args,
                       void* stream) noexcept;
void launch_byte_wgmma(const CodeTilesView& weight, const WgmmaPlan& plan, const void* x_tiles,
                       std::int64_t rows, const Epilogue& epilogue, const EpilogueArgs& args,
                       void* stream) noexcept;

}  // namespace torchao_cpp::cuda
