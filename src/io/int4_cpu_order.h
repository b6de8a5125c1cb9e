// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "io/torch_entry.h"
#include "io/torch_object.h"
#include "torchao_cpp/tensor.h"

namespace torchao_cpp {

/// The order of rows in 4-bit weights packed for a CPU (Int4CPUAQTTensorImpl, Int4OpaqueTensor). It
/// is that of the CPU that wrote the file, and nothing in the file says which.
///
/// The buffer holds blocks of B rows one after the other; the last has m = N mod B rows. A block's
/// bytes are [k][d] with d = 0..m/2-1: the low nibble is the code of row r0 in column k, the high
/// nibble that of row r1. A block of less than B rows always holds rows (2d, 2d + 1).
enum class Int4CpuOrder : std::uint8_t {
  kAvx512,  ///< B = 64, rows (d, d + 32)
  kAvx2,    ///< B = 32, rows (d, d + 16)
  kOther,   ///< B = 32, rows (2d, 2d + 1)
};

/// packed: N * K / 2 bytes, N even. Returns the codes 0..15, uint8 [n, k].
Tensor unpack_int4_cpu(const Tensor& packed, std::int64_t n, std::int64_t k, Int4CpuOrder order);

/// What the packed weights of a file say about their order. torchao spreads each group of weights
/// over the codes 0 to 15, so with the right block size nearly every group has both; with the wrong
/// one groups are mixed and many lack one. The two orders with blocks of 32 rows only exchange
/// whole rows, which no check can tell.
class Int4CpuOrderVote {
 public:
  /// Looks at some packed codes of `object`, if it is such a weight or wraps one.
  void add(const TorchObject& object, int depth = 0);
  /// TORCHAO_CPP_INT4_CPU_ORDER if set; else the order that fits, avx512 if the codes do not
  /// decide, avx2 for blocks of 32 rows. Leaves a note where that is a guess. Throws ConfigError
  /// for an unknown name in the variable.
  Int4CpuOrder decide(TorchNotes& notes) const;

 private:
  std::string first_;         ///< Empty: no such weight.
  std::int64_t groups_ = 0;   ///< Looked at.
  std::int64_t full_64_ = 0;  ///< Groups with both ends of the range in blocks of 64 rows.
  std::int64_t full_32_ = 0;
};

}  // namespace torchao_cpp
