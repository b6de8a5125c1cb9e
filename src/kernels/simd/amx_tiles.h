// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tiles of AMX. Written as assembler statements that say which memory they touch: GCC 12's own
// intrinsics do not (its _tile_loadconfig counts 8 of the 64 bytes, its _tile_loadd none), so that
// stores before them may be moved or dropped.
//
// Tiles of 16 rows of 64 bytes: 0 to 3 for sums, 4 for rows of the weight, 6 for x.

#include <cstdint>

namespace torchao_cpp {
namespace {

constexpr int kAmxRows = 16;
constexpr std::int64_t kAmxRowBytes = 64;
constexpr std::int64_t kAmxBytes = kAmxRows * kAmxRowBytes;

struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

/// Tiles in use by this thread from construction to destruction.
class TileScope {
 public:
  TileScope() {
    const TileConfig config;
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileScope() { __asm__ volatile("tilerelease" : : : "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

#define TORCHAO_CPP_TILE_ZERO(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
#define TORCHAO_CPP_TILE_LOAD(tile, base, stride)                                          \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                                      \
                   :                                                                       \
                   : "r"(static_cast<const void*>(base)), "r"(std::int64_t{stride})        \
                   : "memory")
#define TORCHAO_CPP_TILE_STORE(tile, base, stride)                                         \
  __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"                                  \
                   :                                                                       \
                   : "r"(static_cast<void*>(base)), "r"(std::int64_t{stride})              \
                   : "memory")
/// sums += signed bytes of w times unsigned bytes of x.
#define TORCHAO_CPP_TILE_DOT_INT8(sums, w, x) \
  __asm__ volatile("tdpbsud %%tmm" #x ", %%tmm" #w ", %%tmm" #sums : :)
/// sums += bfloat16 of w times bfloat16 of x, in float32.
#define TORCHAO_CPP_TILE_DOT_BFLOAT16(sums, w, x) \
  __asm__ volatile("tdpbf16ps %%tmm" #x ", %%tmm" #w ", %%tmm" #sums : :)

/// Sums of 32 weight rows and 32 rows of x: [x half][weight half][16 weight rows][16 x rows] of 4 bytes.
constexpr std::int64_t kAmxBlockSums = 4 * kAmxRows * kAmxRows;

/// Two tiles of weight rows times two of x rows, `steps` tiles along K: `sums` = or += what DOT, one of
/// the macros above, gives. Only two registers take operands, one of them the same one twice: while the
/// other thread of a core holds tiles, the core has few to rename with, and waits for each that is loaded
/// anew (measured: 65 ns a step against 110 ns with four registers; 24 ns both ways on a core alone).
#define TORCHAO_CPP_TILE_BLOCK(DOT, w0, w1, x0, x1, steps, sums, is_first)                      \
  do {                                                                                          \
    auto* const block_sums = reinterpret_cast<std::byte*>(sums);                                \
    if (is_first) {                                                                             \
      TORCHAO_CPP_TILE_ZERO(0);                                                                 \
      TORCHAO_CPP_TILE_ZERO(1);                                                                 \
      TORCHAO_CPP_TILE_ZERO(2);                                                                 \
      TORCHAO_CPP_TILE_ZERO(3);                                                                 \
    } else {                                                                                    \
      TORCHAO_CPP_TILE_LOAD(0, block_sums, kAmxRowBytes);                                       \
      TORCHAO_CPP_TILE_LOAD(1, block_sums + kAmxBytes, kAmxRowBytes);                           \
      TORCHAO_CPP_TILE_LOAD(2, block_sums + 2 * kAmxBytes, kAmxRowBytes);                       \
      TORCHAO_CPP_TILE_LOAD(3, block_sums + 3 * kAmxBytes, kAmxRowBytes);                       \
    }                                                                                           \
    for (std::int64_t tile_at = 0; tile_at < (steps) * kAmxBytes; tile_at += kAmxBytes) {       \
      TORCHAO_CPP_TILE_LOAD(6, (x0) + tile_at, kAmxRowBytes);                                   \
      TORCHAO_CPP_TILE_LOAD(4, (w0) + tile_at, kAmxRowBytes);                                   \
      DOT(0, 4, 6);                                                                             \
      TORCHAO_CPP_TILE_LOAD(4, (w1) + tile_at, kAmxRowBytes);                                   \
      DOT(1, 4, 6);                                                                             \
      TORCHAO_CPP_TILE_LOAD(6, (x1) + tile_at, kAmxRowBytes);                                   \
      DOT(3, 4, 6);                                                                             \
      TORCHAO_CPP_TILE_LOAD(4, (w0) + tile_at, kAmxRowBytes);                                   \
      DOT(2, 4, 6);                                                                             \
    }                                                                                           \
    TORCHAO_CPP_TILE_STORE(0, block_sums, kAmxRowBytes);                                        \
    TORCHAO_CPP_TILE_STORE(1, block_sums + kAmxBytes, kAmxRowBytes);                            \
    TORCHAO_CPP_TILE_STORE(2, block_sums + 2 * kAmxBytes, kAmxRowBytes);                        \
    TORCHAO_CPP_TILE_STORE(3, block_sums + 3 * kAmxBytes, kAmxRowBytes);                        \
  } while (false)

}  // namespace
}  // namespace torchao_cpp
