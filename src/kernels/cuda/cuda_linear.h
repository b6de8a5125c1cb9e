// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/activation.h"
#include "kernels/cuda/cuda_device.h"
#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/lt_gemm.h"
#include "kernels/linear_kernel.h"

namespace torchao_cpp::cuda {

/// What linears on a GPU share: the activation's way to the operand, the epilogue, the scratch, and
/// the product by cuBLASLt, a stretch of outputs at a time so that values and sums of a stretch
/// stay in the L2 cache.
class CudaLinear {
 public:
  CudaLinear(const LinearProblem& problem, const ActivationPlan& plan, const Epilogue& host);

  /// One call's pieces of the workspace.
  struct Scratch {
    ActivationBuffers activation;
    std::byte* lt = nullptr;
    void* values = nullptr;  ///< Weight rows of a stretch in the operand's dtype.
    void* sums = nullptr;    ///< [M, stretch], 4 bytes each.
    std::int64_t total_bytes = 0;
  };
  /// `value_bytes`: of one column of `values`, 0 where the product takes the codes. `uses_lt`: for
  /// lt, values and sums.
  Scratch scratch(std::int64_t m, bool uses_lt, std::int64_t value_bytes,
                  std::byte* workspace) const noexcept;

  /// The operand of args.x: x itself where it is one already, else made in the scratch.
  OperandView prepare(const LinearArgs& args, const Scratch& scratch) const noexcept;
  EpilogueArgs epilogue_args(const LinearArgs& args, const Scratch& scratch) const noexcept;

  /// Outputs of one stretch.
  std::int64_t stretch(std::int64_t m, std::int64_t value_bytes) const noexcept;

  const ActivationPlan& plan() const noexcept { return plan_; }
  const Epilogue& epilogue() const noexcept { return epilogue_; }
  const LtGemm& lt() const noexcept { return lt_; }
  DType activation_dtype() const noexcept { return activation_dtype_; }
  std::int64_t output_size() const noexcept { return output_size_; }
  int device() const noexcept { return device_; }
  std::int64_t nbytes() const noexcept;

 private:
  int device_;
  DType activation_dtype_;
  std::int64_t output_size_;
  ActivationPlan plan_;
  Epilogue epilogue_;
  DeviceBuffer pre_scale_;
  DeviceBuffer column_scale_;
  DeviceBuffer code_sums_;
  LtGemm lt_;
};

/// Weight rows as values of the operand's dtype into `out`, [rows, K padded].
using ReadRows = void (*)(const void* weight, std::int64_t n0, std::int64_t rows, DType dtype,
                          std::int64_t stride, void* out, void* stream) noexcept;

/// y by cuBLASLt from values that `read_rows` makes of `weight`; null: `weight` is the WeightView
/// of a plain weight of the operand's dtype. False where there is no algorithm for a stretch.
bool run_by_values(const CudaLinear& linear, const LinearArgs& args, const OperandView& x,
                   const CudaLinear::Scratch& scratch, const void* weight,
                   ReadRows read_rows) noexcept;

/// y by cuBLASLt from the codes of both sides, one byte each. Sums of float8 have the bits of
/// float32 unless `use_fast_accum`.
bool run_by_codes(const CudaLinear& linear, const LinearArgs& args, const OperandView& x,
                  const CudaLinear::Scratch& scratch, const WeightView& weight, DType weight_dtype,
                  bool use_fast_accum) noexcept;

/// Whether the machine has the GPU that a problem names, of at least this compute capability.
Support supports_device(const LinearProblem& problem, int capability);

}  // namespace torchao_cpp::cuda
