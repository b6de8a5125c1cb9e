// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tiles of AMX. Written as assembler statements that say which memory they touch: GCC 12's own
// intrinsics do not (its _tile_loadconfig counts 8 of the 64 bytes, its _tile_loadd none), so that
// stores before them may be moved or dropped.
//
// Eight tiles of 16 rows of 64 bytes: 0 to 3 for sums, 4 and 5 for rows of the weight, 6 and 7 for x.

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

/// Two tiles of weight rows times two of x rows, `steps` tiles along K: `sums` [32][stride] (4-byte
/// elements) = or += what DOT, one of the macros above, gives.
#define TORCHAO_CPP_TILE_BLOCK(DOT, w0, w1, x0, x1, steps, sums, stride, is_first)        \
  do {                                                                                    \
    auto* const sums_00 = (sums);                                                         \
    auto* const sums_10 = sums_00 + kAmxRows * (stride);                                  \
    if (is_first) {                                                                       \
      TORCHAO_CPP_TILE_ZERO(0);                                                           \
      TORCHAO_CPP_TILE_ZERO(1);                                                           \
      TORCHAO_CPP_TILE_ZERO(2);                                                           \
      TORCHAO_CPP_TILE_ZERO(3);                                                           \
    } else {                                                                              \
      TORCHAO_CPP_TILE_LOAD(0, sums_00, (stride) * 4);                                    \
      TORCHAO_CPP_TILE_LOAD(1, sums_10, (stride) * 4);                                    \
      TORCHAO_CPP_TILE_LOAD(2, sums_00 + kAmxRows, (stride) * 4);                         \
      TORCHAO_CPP_TILE_LOAD(3, sums_10 + kAmxRows, (stride) * 4);                         \
    }                                                                                     \
    for (std::int64_t tile_at = 0; tile_at < (steps) * kAmxBytes; tile_at += kAmxBytes) { \
      TORCHAO_CPP_TILE_LOAD(6, (x0) + tile_at, kAmxRowBytes);                             \
      TORCHAO_CPP_TILE_LOAD(4, (w0) + tile_at, kAmxRowBytes);                             \
      DOT(0, 4, 6);                                                                       \
      TORCHAO_CPP_TILE_LOAD(5, (w1) + tile_at, kAmxRowBytes);                             \
      DOT(1, 5, 6);                                                                       \
      TORCHAO_CPP_TILE_LOAD(7, (x1) + tile_at, kAmxRowBytes);                             \
      DOT(2, 4, 7);                                                                       \
      DOT(3, 5, 7);                                                                       \
    }                                                                                     \
    TORCHAO_CPP_TILE_STORE(0, sums_00, (stride) * 4);                                     \
    TORCHAO_CPP_TILE_STORE(1, sums_10, (stride) * 4);                                     \
    TORCHAO_CPP_TILE_STORE(2, sums_00 + kAmxRows, (stride) * 4);                          \
    TORCHAO_CPP_TILE_STORE(3, sums_10 + kAmxRows, (stride) * 4);                          \
  } while (false)

}  // namespace
}  // namespace torchao_cpp
