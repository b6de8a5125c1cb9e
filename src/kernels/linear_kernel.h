// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "torchao_cpp/device.h"
#include "torchao_cpp/dtype.h"
#include "torchao_cpp/quantized_weight.h"

namespace torchao_cpp {

/// y = x Wᵀ + b for one weight; what a kernel is asked whether it can do.
struct LinearProblem {
  /// Quantized weight; null when the weight is plain.
  const QuantizedWeight* quantized = nullptr;
  /// Plain weight [N, K] float32, float16 or bfloat16; undefined when quantized.
  Tensor plain;
  DType activation_dtype = DType::kBFloat16;  ///< Of x, bias and y: float32, float16 or bfloat16.
  Device device;

  std::int64_t output_size() const noexcept { return quantized ? quantized->output_size : plain.shape()[0]; }
  std::int64_t input_size() const noexcept { return quantized ? quantized->input_size : plain.shape()[1]; }
};

/// Answer to "does this kernel fit?".
struct Support {
  bool ok = false;
  std::string reason;  ///< Why not, for a person; empty when ok.

  static Support yes() { return {true, {}}; }
  static Support no(std::string reason) { return {false, std::move(reason)}; }
};

/// A weight in the layout of the kernel that packed it. Immutable; shared by any number of calls and threads.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  /// Bytes held, scales included.
  virtual std::int64_t nbytes() const noexcept = 0;
};

/// One call. All pointers are valid for the call and need only element alignment.
struct LinearArgs {
  std::int64_t m = 0;            ///< Rows of x and y. May be 0.
  const void* x = nullptr;       ///< [M, K], row stride x_stride elements.
  std::int64_t x_stride = 0;
  const void* bias = nullptr;    ///< [N] in the activation dtype, or null.
  void* y = nullptr;             ///< [M, N], row stride y_stride elements.
  std::int64_t y_stride = 0;
  std::byte* workspace = nullptr;  ///< workspace_bytes(packed, m) bytes, 64-byte aligned.
  Stream stream;
};

/// A kernel: a table of plain functions. pack() runs once at load and may throw; run() never does, never allocates.
struct LinearKernel {
  std::string_view name;       ///< "operation/isa", e.g. "int8_weight_only_linear/ref"
  std::string_view operation;  ///< "int8_weight_only_linear"
  std::string_view isa;        ///< "ref", "onednn", "avx2", ...
  Support (*supports)(const LinearProblem& problem);
  std::unique_ptr<PackedWeight> (*pack)(const LinearProblem& problem);
  std::int64_t (*workspace_bytes)(const PackedWeight& packed, std::int64_t m) noexcept;
  void (*run)(const PackedWeight& packed, const LinearArgs& args) noexcept;
};

/// Every kernel of this build, fastest first within an operation, ref last.
std::span<const LinearKernel* const> kernel_list() noexcept;

}  // namespace torchao_cpp
