// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "torchao_cpp/quantized_weight.h"

namespace torchao_cpp {

/// How a row of codes of 1 to 7 bits lies at its true width. A code is the sum of fields of 4, 2 and 1
/// bits, lowest bits first in the widest field; each width is a plane, and a row is its planes, widest
/// first. A plane consists of words of `lanes` lanes of `lane_bytes` bytes; field j of lane l of word u
/// is of column (u * fields of a lane + j) * lanes + l. Planes are padded to whole words.
class CodePlanes {
 public:
  struct Plane {
    int width = 0;      ///< Bits of a field.
    int first_bit = 0;  ///< Of the code.
    std::int64_t offset_bytes = 0;
  };

  /// lane_bytes: 1 or 4.
  CodePlanes(int bits, int lanes, int lane_bytes, std::int64_t columns);

  std::int64_t row_bytes() const noexcept { return row_bytes_; }

  /// One row of codes [columns], one a byte, into `row`: row_bytes() zeros.
  void pack(const std::uint8_t* codes, std::byte* row) const noexcept;

 private:
  int lanes_;
  int lane_bytes_;
  std::int64_t columns_;
  std::int64_t row_bytes_ = 0;
  std::vector<Plane> planes_;
};

/// Whether integer codes stored one a byte are all of `bits` bits; a file may hold others.
bool int_codes_fit(const QuantizedWeight& w, int bits) noexcept;

/// All rows of w's codes, `offset` (0 or 2^(bits - 1)) added, into `out` [N, row_bytes()], padding as zeros.
/// Parallel over rows.
void pack_code_planes(const QuantizedWeight& w, int bits, const CodePlanes& planes, int offset,
                      std::byte* out);

}  // namespace torchao_cpp
