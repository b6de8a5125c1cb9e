// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/epilogue.h"
#include "kernels/float_product/code_rows.h"

namespace torchao_cpp {

/// A weight [N, K] of codes of 1 to 7 bits with a scale for each group of columns: plain pointers
/// only, for functions that are compiled for one instruction set.
///
/// A code is stored as q + 2^(bits - 1), the sum of fields of 4, 2 and 1 bits (bits = 6: the low four
/// and the high two). Each width is a plane of its own; a row is its planes, widest first. L bytes
/// are read at a time, and one shift brings the codes of L neighbouring columns to the low bits:
///
///   4-bit plane:  byte l of L-byte word u holds columns  u*2L + j*L + l  in bits 4j..4j+3, j < 2
///   2-bit plane:  byte l of L-byte word u holds columns  u*4L + j*L + l  in bits 2j..2j+1, j < 4
///   1-bit plane:  byte l of L-byte word u holds columns  u*8L + j*L + l  in bit  j,        j < 8
///
/// Planes are padded to whole words, with anything.
struct IntxRows {
  int bits = 0;
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t columns = 0;           ///< K
  std::int64_t group_columns = 0;
  std::int64_t groups = 0;            ///< Of a row.
  bool has_bfloat16_scales = false;   ///< Else float32.
  const void* scale = nullptr;        ///< [N, groups]
  const std::int8_t* zero = nullptr;  ///< [N, groups]; null when all are 0. |q - zero| <= 127.
};

/// The product for one instruction set: integers within a group, float32 from group to group.
/// Packed x and scratch are as for Int8Product.
struct IntxProduct {
  /// As Int8Product has it.
  std::int32_t x_offset = 0;
  /// L of the planes.
  std::int64_t plane_bytes = 0;
  /// Weight rows that multiply() takes at most.
  std::int64_t max_rows = 0;
  /// Whether groups of so many columns can be multiplied (besides one group a row).
  bool (*takes_groups)(std::int64_t group_columns) noexcept = nullptr;
  std::int64_t (*packed_x_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  std::int64_t (*x_units)(std::int64_t m) noexcept = nullptr;
  void (*pack_x)(const std::int8_t* x, std::int64_t m, std::int64_t columns, std::int64_t unit,
                 std::byte* packed) noexcept = nullptr;
  std::int64_t (*scratch_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  /// sums[m, count]: sum over k of (x[m, k] + x_offset) * (q - zero) * scale of rows n0 .. n0 + count.
  void (*multiply)(const IntxRows& weight, std::int64_t n0, std::int64_t count,
                   const std::byte* packed_x, std::int64_t m, std::byte* scratch,
                   float* sums) noexcept = nullptr;
  FinishSums finish = nullptr;
  /// Bits of codes at most.
  int max_bits = 7;
  /// Rows of x that multiply() takes at most with groups of so many columns; null: any number.
  std::int64_t (*most_rows)(std::int64_t group_columns) noexcept = nullptr;
  /// Takes more, as values of bfloat16. With plane_bytes of 64.
  const FloatProduct& (*float_product)() noexcept = nullptr;
  /// PanelPlan::unit of the weight rows.
  std::int64_t row_unit = 0;
};

/// One for each instruction set, defined in a file compiled for it.
const IntxProduct& intx_product_avx2_functions() noexcept;
const IntxProduct& intx_product_avx512_vnni_functions() noexcept;
const IntxProduct& intx_product_amx_functions() noexcept;

}  // namespace torchao_cpp
