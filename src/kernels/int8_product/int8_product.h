// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/epilogue.h"

namespace torchao_cpp {

/// A weight of int8 codes: plain pointers only, for functions that are compiled for one instruction
/// set.
struct Int8Rows {
  const std::int8_t* codes = nullptr;  ///< [N, K]
  std::int64_t columns = 0;            ///< K
};

/// The product for one instruction set, of x + x_offset; exact in int32 but for whole turns of it. x
/// is packed once, in a layout that depends on the number of its rows alone. Scratch and packed x are
/// the caller's, 64-byte aligned.
struct Int8Product {
  /// 128 where instructions multiply unsigned bytes with signed ones, else 0.
  std::int32_t x_offset = 0;
  /// Weight rows that multiply() takes at most.
  std::int64_t max_rows = 0;
  /// Bytes of x [m, K] as multiply() takes it, and in how many units pack_x() makes that.
  std::int64_t (*packed_x_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  std::int64_t (*x_units)(std::int64_t m) noexcept = nullptr;
  void (*pack_x)(const std::int8_t* x, std::int64_t m, std::int64_t columns, std::int64_t unit,
                 std::byte* packed) noexcept = nullptr;
  std::int64_t (*scratch_bytes)(std::int64_t m, std::int64_t columns) noexcept = nullptr;
  /// sums[m, count] of x and weight rows n0 .. n0 + count.
  void (*multiply)(const Int8Rows& weight, std::int64_t n0, std::int64_t count,
                   const std::byte* packed_x, std::int64_t m, std::byte* scratch,
                   std::int32_t* sums) noexcept = nullptr;
  FinishSums finish = nullptr;
  /// PanelPlan::unit of the weight rows.
  std::int64_t row_unit = 0;
};

/// One for each instruction set, defined in a file compiled for it.
const Int8Product& int8_product_avx2_functions() noexcept;
const Int8Product& int8_product_avx512_vnni_functions() noexcept;
const Int8Product& int8_product_amx_functions() noexcept;
const Int8Product& int8_product_neon_functions() noexcept;
const Int8Product& int8_product_neon_dotprod_functions() noexcept;
const Int8Product& int8_product_neon_i8mm_functions() noexcept;

}  // namespace torchao_cpp
