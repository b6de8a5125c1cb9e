// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cuda/cuda_device.h"
#include "kernels/epilogue.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp::cuda {

/// A weight [N, K] in a GPU's memory as kernels take it, by value.
///
/// Codes lie at their true width: a row is a little-endian string of bits, column k at bit k *
/// bits, padded with zeros to whole units of `kRowUnit` bytes. A plain weight has 16 or 32 bits.
///
///   bits = 3   byte 0: 2221 1100   byte 1: 5443 3322 ...    (columns 0 to 7 fill 3 bytes)
struct WeightView {
  static constexpr std::int64_t kRowUnit = 32;

  std::int64_t n = 0;
  std::int64_t k = 0;
  int bits = 0;
  const std::uint8_t* codes = nullptr;
  std::int64_t row_bytes = 0;
  const float* code_values =
      nullptr;             ///< [2^bits]: what a code stands for; null for a plain weight.
  bool is_scaled = false;  ///< False: values are the bare codes.
  ZeroPointDomain zero_kind = ZeroPointDomain::kNone;
  ValueRounding rounding =
      ValueRounding::kNone;  ///< Of a scaled code and, for a plain weight, its dtype.
  std::int64_t block_rows = 1;
  std::int64_t block_columns = 0;
  std::int64_t blocks_per_row = 1;
  bool has_byte_scales = false;        ///< Scales are bytes, else of `scale_dtype`.
  const float* byte_scales = nullptr;  ///< [256]: what the bytes mean.
  ValueRounding scale_dtype = ValueRounding::kNone;
  const void* scale = nullptr;  ///< [N / block_rows, blocks_per_row]
  bool has_byte_zero = false;   ///< Zero points are int8, else of `zero_dtype`.
  ValueRounding zero_dtype = ValueRounding::kNone;
  const void* zero = nullptr;  ///< As scale.
};

/// A WeightView and the memory behind it, which others may hold too (shared_plain.h).
class DeviceWeight {
 public:
  /// Takes the codes and scales as read_weight() of FloatLinear reads them: `is_scaled` false gives
  /// the bare codes. `rounds_values` false: scaled codes keep float32.
  DeviceWeight(const LinearProblem& problem, bool is_scaled, bool rounds_values, int device);

  const WeightView& view() const noexcept { return view_; }
  std::int64_t nbytes() const noexcept;

 private:
  void take_plain(const Tensor& plain, int device);
  void take_codes(const QuantizedWeight& w, int device);
  void take_scales(const QuantizedWeight& w, int device);

  WeightView view_;
  std::vector<DeviceBuffer> buffers_;
  std::shared_ptr<DeviceBuffer> plain_;
};

}  // namespace torchao_cpp::cuda
