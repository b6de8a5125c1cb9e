// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "kernels/cuda/byte_products.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_linear.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/scaled_activation.h"

namespace torchao_cpp {
namespace {

using namespace cuda;

constexpr int kCapability = 89;
/// Rows of x up to which the product with its own epilogue beats cuBLASLt's scaled one: by 8 to 20
/// % with 64 rows, 53.9 to 49.4 us for a weight of 28672 x 4096 on an H100; with 128 it loses by 8
/// %.
constexpr std::int64_t kGemmRows = 64;
/// Of every size but M, for matrix units.
constexpr std::int64_t kUnit = 16;

ActivationPlan code_plan(const LinearProblem& problem) {
  ActivationPlan plan = make_activation_plan(problem, false);
  plan.form = OperandForm::kFloat8;
  return plan;
}

/// float8 codes of both sides by kernels for few rows, else by cuBLASLt; where that has no
/// algorithm for a size, their values summed one by one.
class CudaFloat8Linear final : public PackedWeight {
 public:
  explicit CudaFloat8Linear(const LinearProblem& problem)
      : linear_(problem, code_plan(problem), FloatLinear(problem).epilogue()),
        by_values_(problem, make_activation_plan(problem, false), FloatLinear(problem).epilogue()),
        weight_(problem, false, false, problem.device.index),
        processors_(cuda_processor_count(problem.device.index)),
        few_rows_(byte_product_supports(DType::kFloat8E4M3FN, problem.device.index)
                      ? kByteProductRows
                      : 0),
        use_fast_accum_(problem.quantized->activation.use_fast_accum),
        has_gemm_(use_fast_accum_ && byte_gemm_supports(linear_.epilogue(), linear_.output_size(),
                                                        cuda_capability(problem.device.index))) {}

  std::int64_t nbytes() const noexcept override {
    return linear_.nbytes() + by_values_.nbytes() + weight_.nbytes();
  }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    if (m <= few_rows_) return linear_.scratch(m, false, 0, nullptr).total_bytes;
    return std::max(linear_.scratch(m, true, 0, nullptr).total_bytes,
                    by_values_.scratch(m, false, 0, nullptr).total_bytes);
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m <= 0) return;
    const CudaDeviceGuard guard(linear_.device());
    CudaLinear::Scratch s = linear_.scratch(args.m, args.m > few_rows_, 0, args.workspace);
    if (args.m <= few_rows_) {
      launch_byte_product(weight_.view(), linear_.prepare(args, s), linear_.epilogue(),
                          linear_.epilogue_args(args, s), processors_, args.stream.handle);
      return;
    }
    const OperandView x = linear_.prepare(args, s);
    if (has_gemm_ && args.m <= kGemmRows &&
        launch_byte_gemm(weight_.view(), x, linear_.epilogue(), linear_.epilogue_args(args, s),
                         processors_, args.stream.handle))
      return;
    if (run_by_codes(linear_, args, x, s, weight_.view(), DType::kFloat8E4M3FN, use_fast_accum_))
      return;
    s = by_values_.scratch(args.m, false, 0, args.workspace);
    launch_float_dot(weight_.view(), by_values_.prepare(args, s), by_values_.epilogue(),
                     by_values_.epilogue_args(args, s), args.stream.handle);
  }

 private:
  CudaLinear linear_;
  CudaLinear by_values_;
  DeviceWeight weight_;
  int processors_;
  std::int64_t few_rows_;  ///< Up to which launch_byte_product() is taken.
  bool use_fast_accum_;
  bool has_gemm_;  ///< launch_byte_gemm(), whose sums are those of fast accumulation.
};

Support supports(const LinearProblem& problem) {
  const QuantizedWeight& w = *problem.quantized;
  if (Support device = supports_device(problem, kCapability); !device.ok) return device;
  if (w.weight_dtype != DType::kFloat8E4M3FN || w.activation.dtype != DType::kFloat8E4M3FN)
    return Support::no("the codes of weight and activation are not both float8_e4m3fn");
  if (w.block_size[1] != w.input_size)
    return Support::no("scales along K of both operands need a sum for each block");
  if (linear_compute_dtype(problem) == DType::kFloat32)
    return Support::no("matrix units sum float8 with fewer bits than a float32 result has");
  if (w.output_size % kUnit != 0 || w.input_size % kUnit != 0) {
    return Support::no(fmt::format("the weight is [{}, {}]; expected multiples of {}",
                                   w.output_size, w.input_size, kUnit));
  }
  return Support::yes();
}

}  // namespace

LinearKernel float8_product_cuda_sm89(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<CudaFloat8Linear>(operation, "cuda_sm89");
  kernel.device = DeviceType::kCUDA;
  kernel.has_fewer_roundings = true;
  kernel.runs_here = cuda_runs_here;
  kernel.supports = supports;
  return kernel;
}

}  // namespace torchao_cpp
