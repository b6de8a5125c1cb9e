// SPDX-License-Identifier: Apache-2.0
#pragma once

// x as products of bytes take it, for the instruction set of the SimdBytes included before: few rows
// as they are; many with four columns of all rows side by side, [panel][K / 4][rows of a panel][4].
//
// Its bytes are unsigned, 128 more than the codes: that is what the instructions multiply with signed
// ones.

#include <cstddef>
#include <cstring>

#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

using Bytes = SimdBytes::Bytes;
using Ints = SimdBytes::Ints;
constexpr std::int64_t kBytes = SimdBytes::kBytes;
constexpr std::int64_t kIntLanes = SimdBytes::kLanes;

constexpr std::int32_t kXOffset = 128;

/// Rows of x up to which each output is a dot product of two rows.
constexpr std::int64_t kDotRows = 8;

inline Bytes shifted_x(Bytes codes) {
  return SimdBytes::exclusive_or(codes, SimdBytes::set1(-128));
}

// dot: x as rows of unsigned bytes, padded with 0 to whole vectors.

inline std::int64_t dot_stride(std::int64_t columns) { return rounded_up(columns, kBytes); }

inline void pack_dot_row(const std::int8_t* x, std::int64_t columns, std::int64_t row,
                         std::byte* packed) {
  const std::int8_t* from = x + row * columns;
  std::byte* to = packed + row * dot_stride(columns);
  std::int64_t k = 0;
  for (; k + kBytes <= columns; k += kBytes)
    SimdBytes::store(to + k, shifted_x(SimdBytes::load(from + k)));
  if (k == columns) return;
  SimdBytes::store(to + k, SimdBytes::zero());
  for (; k < columns; ++k)
    to[k] = static_cast<std::byte>(static_cast<std::uint8_t>(from[k]) ^ 0x80u);
}

/// kMaxVectors: vectors of int32 that the rows of a panel fill at most.
template <int kMaxVectors>
struct XPanels {
  /// As many as m fills, so that few rows are not padded to many.
  static int vectors(std::int64_t m) {
    if (m <= kIntLanes) return 1;
    return m <= 2 * kIntLanes ? 2 : kMaxVectors;
  }
  static std::int64_t rows(std::int64_t m) { return vectors(m) * kIntLanes; }
  static std::int64_t padded_rows(std::int64_t m) { return rounded_up(m, rows(m)); }

  static std::int64_t packed_bytes(std::int64_t m, std::int64_t columns) noexcept {
    return m <= kDotRows ? m * dot_stride(columns) : padded_rows(m) * rounded_up(columns, 4);
  }
  static std::int64_t units(std::int64_t m) noexcept {
    return m <= kDotRows ? m : padded_rows(m) / rows(m);
  }
  static void pack(const std::int8_t* x, std::int64_t m, std::int64_t columns, std::int64_t unit,
                   std::byte* packed) noexcept {
    if (m <= kDotRows) return pack_dot_row(x, columns, unit, packed);
    pack_panel(x, m, columns, unit, packed);
  }

 private:
  static void pack_panel(const std::int8_t* x, std::int64_t m, std::int64_t columns,
                         std::int64_t panel, std::byte* packed) {
    const std::int64_t panel_rows = rows(m);
    const std::int64_t quads = (columns + 3) / 4;
    std::byte* out = packed + panel * panel_rows * quads * 4;
    constexpr std::int64_t kRun = 16;  // Quads at a time: a cache line of each row.
    for (std::int64_t q0 = 0; q0 < quads; q0 += kRun) {
      const std::int64_t q1 = smaller(q0 + kRun, quads);
      for (std::int64_t r = 0; r < panel_rows; ++r) {
        const std::int64_t row = panel * panel_rows + r;
        const std::int8_t* from = x + row * columns;
        for (std::int64_t q = q0; q < q1; ++q) {
          std::uint32_t four = 0;  // Rows and columns that only fill up.
          if (row < m) {
            const std::int64_t count = smaller(4, columns - q * 4);
            std::memcpy(&four, from + q * 4, static_cast<std::size_t>(count));
            four ^= 0x80808080u >> (8 * (4 - count));
          }
          std::memcpy(out + (q * panel_rows + r) * 4, &four, 4);
        }
      }
    }
  }
};

}  // namespace
}  // namespace torchao_cpp
