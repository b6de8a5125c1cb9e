// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/cpu_features.h"
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

  std::int64_t output_size() const noexcept {
    return quantized ? quantized->output_size : plain.shape()[0];
  }
  std::int64_t input_size() const noexcept {
    return quantized ? quantized->input_size : plain.shape()[1];
  }
};

/// Answer to "does this kernel fit?".
struct Support {
  bool ok = false;
  std::string reason;  ///< Why not, for a person; empty when ok.

  static Support yes() { return {true, {}}; }
  static Support no(std::string reason) { return {false, std::move(reason)}; }
};

/// A weight in the layout of the kernel that packed it. Immutable; shared by any number of calls
/// and threads.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  /// Bytes held, scales included.
  virtual std::int64_t nbytes() const noexcept = 0;
};

/// One call. All pointers are valid for the call and need only element alignment.
struct LinearArgs {
  std::int64_t m = 0;          ///< Rows of x and y. May be 0.
  const void* x = nullptr;     ///< [M, K], contiguous.
  const void* bias = nullptr;  ///< [N] in the activation dtype, or null.
  void* y = nullptr;           ///< [M, N], row stride y_stride elements.
  std::int64_t y_stride = 0;
  std::byte* workspace = nullptr;  ///< workspace_bytes(packed, m) bytes, 64-byte aligned.
  Stream stream;
};

/// What a linear computes: the kind of weight and how the activation is quantized, in the words of
/// torchao's configs. Several weight classes can be one operation.
enum class LinearOperation : std::uint8_t {
  kUnquantized,
  kInt8WeightOnly,
  kInt4WeightOnly,
  kIntxWeightOnly,
  kFloat8WeightOnly,
  kMXWeightOnly,
  kNVFP4WeightOnly,
  kNF4WeightOnly,
  kInt8DynamicActivationInt8Weight,
  kInt8StaticActivationInt8Weight,
  kInt8DynamicActivationIntxWeight,
  kFloat8DynamicActivationFloat8Weight,
  kFloat8StaticActivationFloat8Weight,
  kFloat8DynamicActivationInt4Weight,
  kMXDynamicActivationMXWeight,
  kNVFP4DynamicActivationNVFP4Weight,
};

/// "int8_weight_only_linear"
std::string_view operation_name(LinearOperation operation) noexcept;

/// The operation that this weight asks for; nullopt for a combination that no torchao class has.
std::optional<LinearOperation> operation_of(const LinearProblem& problem) noexcept;

/// A kernel: a table of plain functions. pack() runs once at load and may throw; run() never does,
/// never allocates.
struct LinearKernel {
  LinearOperation operation = LinearOperation::kUnquantized;
  std::string_view isa;  ///< "ref", "onednn", "avx2", ...
  DeviceType device = DeviceType::kCPU;
  /// As KernelInfo has it (linear.h).
  bool has_fewer_roundings = false;
  /// Whether this build and this machine have what the kernel needs.
  Support (*runs_here)() = nullptr;
  /// Asked for problems of the kernel's operation and device, on a machine that it runs on.
  Support (*supports)(const LinearProblem& problem) = nullptr;
  std::unique_ptr<PackedWeight> (*pack)(const LinearProblem& problem) = nullptr;
  std::int64_t (*workspace_bytes)(const PackedWeight& packed, std::int64_t m) noexcept = nullptr;
  void (*run)(const PackedWeight& packed, const LinearArgs& args) noexcept = nullptr;

  /// "operation/isa", e.g. "int8_weight_only_linear/ref"
  std::string name() const;
};

/// A kernel whose packed form is the class Packed: constructed from a LinearProblem, with
/// workspace_bytes(m) and run(args). The machine and the problem are taken as fit; set runs_here
/// and supports where that is not so.
template <typename Packed>
LinearKernel make_linear_kernel(LinearOperation operation, std::string_view isa) {
  LinearKernel kernel;
  kernel.operation = operation;
  kernel.isa = isa;
  kernel.runs_here = [] { return Support::yes(); };
  kernel.supports = [](const LinearProblem&) { return Support::yes(); };
  kernel.pack = [](const LinearProblem& problem) -> std::unique_ptr<PackedWeight> {
    return std::make_unique<Packed>(problem);
  };
  kernel.workspace_bytes = [](const PackedWeight& packed, std::int64_t m) noexcept {
    return static_cast<const Packed&>(packed).workspace_bytes(m);
  };
  kernel.run = [](const PackedWeight& packed, const LinearArgs& args) noexcept {
    static_cast<const Packed&>(packed).run(args);
  };
  return kernel;
}

/// For LinearKernel::runs_here of a kernel for one instruction set, and of one that leaves the
/// choice to a library: as base/cpu_features.h says.
Support runs_on(CpuIsa isa);
Support library_runs_here();

/// "Does this kernel fit?", all of it: operation, device, activation dtype, machine, then the
/// kernel's own supports().
Support check_support(const LinearKernel& kernel, const LinearProblem& problem);

/// Every kernel of this build, fastest first within an operation, ref last.
std::span<const LinearKernel> kernel_list() noexcept;

}  // namespace torchao_cpp
