// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "torchao_cpp/dtype.h"

namespace torchao_cpp::cuda {

/// out [m, n] = x [m, k] Wᵀ, with W [n, k]; strides in elements. float32, float16 and bfloat16 give
/// their own dtype or float32, float8 gives either of the three, int8 gives int32.
struct LtProduct {
  DType operand = DType::kBFloat16;
  DType weight = DType::kBFloat16;  ///< As `operand`, but for two kinds of float8.
  DType out = DType::kBFloat16;
  std::int64_t m = 0, n = 0, k = 0;
  std::int64_t x_stride = 0, weight_stride = 0, out_stride = 0;
  /// float8: each sum times the scale of its row of x and of its row of W, then rounded. Needs
  /// cuBLAS 12.9 and a GPU that it does this on.
  bool is_scaled = false;

  friend bool operator==(const LtProduct&, const LtProduct&) = default;
};

/// Scales of an LtProduct, on the device.
struct LtScales {
  const float* x = nullptr;       ///< [m]
  const float* weight = nullptr;  ///< [n]
};

/// Matrix products by cuBLASLt on one device. Safe to call from many threads; keeps the algorithms
/// that it was given for the latest products.
class LtGemm {
 public:
  /// Scratch that run() takes, 256-byte aligned.
  static constexpr std::int64_t kWorkspaceBytes = 32 << 20;

  /// Throws DeviceError where cuBLASLt cannot start.
  explicit LtGemm(int device);
  ~LtGemm();

  /// False where cuBLASLt has no algorithm for it: nothing was started then. Pointers are 16-byte
  /// aligned.
  bool run(const LtProduct& product, const void* x, const void* weight, void* out,
           std::byte* workspace, void* stream, const LtScales& scales = {}) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace torchao_cpp::cuda
