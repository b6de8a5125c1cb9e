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

/// A vector of x as it is multiplied; bytes from `count` on are 0.
inline Simd::Floats load_quads(const std::int8_t* x, std::int64_t count) {
  if (count == kBytes) return SimdBytes::as_floats(shifted_x(SimdBytes::load(x)));
  alignas(64) std::uint8_t bytes[kBytes] = {};
  for (std::int64_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(x[i]) ^ 0x80u);
  return SimdBytes::as_floats(SimdBytes::load(bytes));
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
    // A square of quads at a time: as many rows as a vector has lanes, a vector of each.
    for (std::int64_t q0 = 0; q0 < quads; q0 += kIntLanes) {
      const std::int64_t count = smaller(kBytes, columns - q0 * 4);
      for (std::int64_t r0 = 0; r0 < panel_rows; r0 += kIntLanes) {
        Simd::Floats v[kIntLanes];
        TORCHAO_CPP_UNROLL
        for (int i = 0; i < kIntLanes; ++i) {
          // Rows and columns that only fill up are 0.
          const std::int64_t row = panel * panel_rows + r0 + i;
          v[i] = row < m ? load_quads(x + row * columns + q0 * 4, count) : Simd::zero();
        }
        Simd::transpose(v);
        std::byte* to = out + (q0 * panel_rows + r0) * 4;
        for (std::int64_t q = 0; q < smaller(kIntLanes, quads - q0); ++q)
          Simd::store(reinterpret_cast<float*>(to + q * panel_rows * 4), v[q]);
      }
    }
  }
};

}  // namespace
}  // namespace torchao_cpp
