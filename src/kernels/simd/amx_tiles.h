// SPDX-License-Identifier: Apache-2.0
#pragma once

// Tiles of AMX. Written as assembler statements that say which memory they touch: GCC 12's own
// intrinsics do not (its _tile_loadconfig counts 8 of the 64 bytes, its _tile_loadd none), so that
// stores before them may be moved or dropped.
//
// Tiles are of 16 rows of 64 bytes.

#include <cstddef>
#include <cstdint>

#include "kernels/simd/row_helpers.h"

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

template <int kTile>
TORCHAO_CPP_ALWAYS_INLINE void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
/// 16 rows of 64 bytes, one after the other.
template <int kTile>
TORCHAO_CPP_ALWAYS_INLINE void tile_load(const std::byte* from) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                   :
                   : "r"(from), "r"(kAmxRowBytes), "i"(kTile)
                   : "memory");
}
template <int kTile>
TORCHAO_CPP_ALWAYS_INLINE void tile_store(std::byte* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                   :
                   : "r"(to), "r"(kAmxRowBytes), "i"(kTile)
                   : "memory");
}

/// sums += signed bytes of w times unsigned bytes of x.
struct Int8TileDot {
  template <int kSums, int kW, int kX>
  TORCHAO_CPP_ALWAYS_INLINE static void add() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kW), "i"(kX));
  }
};
/// sums += bfloat16 of w times bfloat16 of x, in float32.
struct BFloat16TileDot {
  template <int kSums, int kW, int kX>
  TORCHAO_CPP_ALWAYS_INLINE static void add() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kW), "i"(kX));
  }
};

}  // namespace
}  // namespace torchao_cpp
