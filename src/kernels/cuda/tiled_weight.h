// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda/code_tiles.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp::cuda {

/// Whether a weight's codes and scales can be brought into the order of code_tiles.h.
Support supports_tiles(const LinearProblem& problem);

/// A weight in the order of code_tiles.h in a GPU's memory.
class TiledWeight {
 public:
  /// supports_tiles() said yes. Throws DeviceError where memory is short.
  TiledWeight(const LinearProblem& problem, const FloatLinear& host);

  const CodeTilesView& view() const noexcept { return view_; }
  std::int64_t nbytes() const noexcept { return codes_.nbytes() + scales_.nbytes(); }

 private:
  void take_codes(const QuantizedWeight& w, int device);
  void take_scales(const QuantizedWeight& w, const FloatLinear& host, int device);

  CodeTilesView view_;
  DeviceBuffer codes_;
  DeviceBuffer scales_;
};

/// Scales [N] that tiles without groups leave to the epilogue; empty where FloatLinear's epilogue
/// has them already, or groups have.
std::vector<float> column_scales_of_tiles(const LinearProblem& problem, const FloatLinear& host);

}  // namespace torchao_cpp::cuda
