// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/epilogue.h"

namespace torchao_cpp {

/// How one row of codes lies in memory.
enum class CodeForm : std::uint8_t {
  kFloat32,
  kFloat16,
  kBFloat16,
  kInt8,
  kFloat8E4M3,
  kFloat8E5M2,
  kFloat6E2M3,  ///< One code a byte.
  kFloat6E3M2,  ///< One code a byte.
  kFields,      ///< 1 to 7 bits, packed at their true width; see below.
};

/// What the zero points of CodeRows mean.
enum class CodeZero : std::uint8_t {
  kNone,   ///< w = c * s
  kInt,    ///< w = (c - z) * s
  kFloat,  ///< w = c * s + z
};

/// How scales and zero points are stored. Bytes are indices into byte_scales.
enum class ScaleForm : std::uint8_t { kFloat32, kBFloat16, kByte };

/// A weight [N, K] as rows of codes: plain pointers only, for functions that are compiled for one
/// instruction set and must not bring a library's inline functions with them.
///
/// kFields. A code of B bits is the sum of fields of 4, 2 and 1 bits (B = 6: the low four bits and
/// the high two). Each width is a plane of its own; a row is its planes in that order, widest first.
/// L lanes of 32 bits are read at a time; the column that a field belongs to follows from the lane
/// and from where in the lane it lies:
///
///   4-bit plane:  lane l of word group u holds columns  u*8L  + j*L + l  in bits 4j..4j+3, j < 8
///   2-bit plane:  lane l of word group u holds columns  u*16L + j*L + l  in bits 2j..2j+1, j < 16
///   1-bit plane:  lane l of word group u holds columns  u*32L + j*L + l  in bit   j,       j < 32
///
/// so that one shift brings the codes of L neighbouring columns to the low bits of L lanes. Each
/// plane is padded with zeros to whole word groups. Lanes of 8 bits hold a quarter of the fields.
struct CodeRows {
  CodeForm form = CodeForm::kBFloat16;
  int bits = 0;   ///< kFields: 1 to 7.
  int lanes = 0;       ///< kFields: L.
  int lane_bytes = 4;  ///< kFields: 4 or 1.
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;     ///< N
  std::int64_t columns = 0;  ///< K
  /// What each code stands for: kFields (repeated to 128 entries; a code stands for code_offset less,
  /// where it is an integer), float8 (bit 7 is the sign) and float6.
  float code_values[128] = {};
  float code_offset = 0;

  bool is_scaled = false;  ///< False: values are the bare codes.
  CodeZero zero_kind = CodeZero::kNone;
  ValueRounding rounding = ValueRounding::kNone;  ///< Of a scaled code.
  std::int64_t block_rows = 1;
  std::int64_t block_columns = 0;
  std::int64_t blocks_per_row = 1;
  ScaleForm scale_form = ScaleForm::kFloat32;
  const void* scale = nullptr;  ///< [N / block_rows, blocks_per_row]
  const void* zero = nullptr;   ///< As scale: float32 for ScaleForm::kFloat32, else bfloat16.
  float byte_scales[256] = {};
};

/// Rows of x whose sums leave a product's scratch at a time: few enough to be finished in the
/// first- or second-level cache.
constexpr std::int64_t kSumRows = 32;

/// The product for one instruction set. Sums are float32. Scratch is the caller's, 64-byte aligned.
struct FloatProduct {
  /// Of packed fields.
  int lanes = 0;
  int lane_bytes = 4;
  /// Whether both operands are bfloat16 values: scaled codes are rounded to it, x is given so.
  bool takes_bfloat16 = false;
  /// Rows of x that dot() takes at most.
  std::int64_t dot_rows = 0;
  /// Weight rows that gemm() takes at most.
  std::int64_t gemm_rows = 0;
  /// PanelPlan::unit of gemm().
  std::int64_t gemm_unit = 0;
  /// Floats that dot() needs as scratch.
  std::int64_t (*dot_scratch)(const CodeRows& weight) noexcept = nullptr;
  /// Floats that gemm() needs as scratch, for m rows of x.
  std::int64_t (*gemm_scratch)(const CodeRows& weight, std::int64_t m) noexcept = nullptr;
  /// Bytes of x [m, K] in the layout of dot(), and pack_dot_x(), which makes it from x in `form`,
  /// float32 or bfloat16. Null: x as float32.
  std::int64_t (*dot_x_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  void (*pack_dot_x)(const CodeRows& weight, const void* x, CodeForm form, std::int64_t m,
                     void* packed) noexcept = nullptr;
  /// sums[m, count] of x [m, K] and weight rows n0 .. n0 + count. Reads a weight once.
  void (*dot)(const CodeRows& weight, std::int64_t n0, std::int64_t count, const void* x,
              std::int64_t m, float* scratch, float* sums) noexcept = nullptr;
  /// Bytes of x [m, K] in the layout of gemm().
  std::int64_t (*packed_x_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  /// Panels of x in that layout; pack_x() makes panel p of them from x [m, K] in `form`, float32 or
  /// bfloat16.
  std::int64_t (*x_panels)(std::int64_t m) noexcept = nullptr;
  void (*pack_x)(const CodeRows& weight, const void* x, CodeForm form, std::int64_t m,
                 std::int64_t panel, void* packed) noexcept = nullptr;
  /// From packed x, sums of weight rows n0 .. n0 + count that stay in the scratch, and rows m0 ..
  /// m0 + rows of them as dot() gives its sums: [rows, count]. m0 is a multiple of kSumRows.
  void (*gemm)(const CodeRows& weight, std::int64_t n0, std::int64_t count, const void* packed_x,
               std::int64_t m, float* scratch) noexcept = nullptr;
  void (*take_sums)(const CodeRows& weight, std::int64_t count, std::int64_t m,
                    const float* scratch, std::int64_t m0, std::int64_t rows,
                    float* sums) noexcept = nullptr;
  FinishSums finish = nullptr;
};

}  // namespace torchao_cpp
