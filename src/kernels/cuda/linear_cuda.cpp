// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/byte_products.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_linear.h"
#include "kernels/float_product/float_linear.h"
#include "kernels/int8_product/int8_linear.h"

namespace torchao_cpp {
namespace {

using namespace cuda;

constexpr int kOldestCapability = 75;
constexpr int kBFloat16Capability = 80;

/// Rows of x up to which sums of one output at a time beat a matrix product.
constexpr std::int64_t kDotRows = 4;

// Scales of both sides along K become part of the operands.
bool scales_operands(const FloatLinear& host) { return host.segment() != host.input_size(); }

ActivationPlan plan_of(const LinearProblem& problem, const FloatLinear& host) {
  ActivationPlan plan = make_activation_plan(problem, scales_operands(host));
  // A plain weight is multiplied as it is, whatever the activation.
  if (host.is_plain() && host.plain().dtype() != plan.operand_dtype)
    plan.operand_dtype = DType::kFloat32;
  return plan;
}

class CudaFloatLinear final : public PackedWeight {
 public:
  explicit CudaFloatLinear(const LinearProblem& problem)
      : CudaFloatLinear(problem, FloatLinear(problem)) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes() + weight_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return scratch(m, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m <= 0) return;
    const CudaDeviceGuard guard(linear_.device());
    const CudaLinear::Scratch s = scratch(args.m, args.workspace);
    const OperandView x = linear_.prepare(args, s);
    const WeightView& weight = weight_.view();
    const bool is_plain =
        weight.code_values == nullptr && 8 * dtype_size_bytes(x.dtype) == weight.bits;
    if (uses_lt(args.m) &&
        run_by_values(linear_, args, x, s, &weight, is_plain ? nullptr : &read_rows))
      return;
    launch_float_dot(weight, x, linear_.epilogue(), linear_.epilogue_args(args, s),
                     args.stream.handle);
  }

 private:
  CudaFloatLinear(const LinearProblem& problem, const FloatLinear& host)
      : linear_(problem, plan_of(problem, host), host.epilogue()),
        weight_(problem, !host.multiplies_codes() || scales_operands(host),
                !scales_operands(host) && host.is_plain() == false &&
                    host.value_dtype() == host.weight().dtype,
                problem.device.index),
        has_lt_(linear_.plan().operand_dtype != DType::kBFloat16 ||
                cuda_capability(problem.device.index) >= kBFloat16Capability) {}

  static void read_rows(const void* weight, std::int64_t n0, std::int64_t rows, DType dtype,
                        std::int64_t stride, void* out, void* stream) noexcept {
    launch_dequantize(*static_cast<const WeightView*>(weight), n0, rows, dtype, stride, out,
                      stream);
  }

  bool uses_lt(std::int64_t m) const noexcept { return has_lt_ && m > kDotRows; }
  CudaLinear::Scratch scratch(std::int64_t m, std::byte* workspace) const noexcept {
    return linear_.scratch(m, uses_lt(m),
                           linear_.plan().stride() * dtype_size_bytes(linear_.plan().operand_dtype),
                           workspace);
  }

  CudaLinear linear_;
  DeviceWeight weight_;
  bool has_lt_;
};

class CudaInt8Linear final : public PackedWeight {
 public:
  explicit CudaInt8Linear(const LinearProblem& problem)
      : linear_(problem, make_activation_plan(problem, false), Int8Linear(problem).epilogue()),
        weight_(problem, false, false, problem.device.index),
        processors_(cuda_processor_count(problem.device.index)),
        few_rows_(byte_product_supports(DType::kInt8, problem.device.index) ? kByteProductRows : 0),
        has_gemm_(byte_gemm_supports(linear_.epilogue(), linear_.output_size(),
                                     cuda_capability(problem.device.index))) {}

  std::int64_t nbytes() const noexcept override { return linear_.nbytes() + weight_.nbytes(); }

  std::int64_t workspace_bytes(std::int64_t m) const noexcept {
    return linear_.scratch(m, uses_lt(m), 0, nullptr).total_bytes;
  }

  void run(const LinearArgs& args) const noexcept {
    if (args.m <= 0) return;
    const CudaDeviceGuard guard(linear_.device());
    const CudaLinear::Scratch s = linear_.scratch(args.m, uses_lt(args.m), 0, args.workspace);
    const OperandView x = linear_.prepare(args, s);
    const WeightView& weight = weight_.view();
    const Epilogue& epilogue = linear_.epilogue();
    const EpilogueArgs finish = linear_.epilogue_args(args, s);
    void* const stream = args.stream.handle;
    if (args.m <= few_rows_) {
      launch_byte_product(weight, x, epilogue, finish, processors_, stream);
      return;
    }
    if (has_gemm_ && launch_byte_gemm(weight, x, epilogue, finish, processors_, stream)) return;
    if (uses_lt(args.m) && run_by_codes(linear_, args, x, s, weight, DType::kInt8, false)) return;
    launch_int8_dot(weight, x, epilogue, finish, stream);
  }

 private:
  // cuBLASLt takes int8 in fours.
  bool uses_lt(std::int64_t m) const noexcept {
    return m > std::max(kDotRows, few_rows_) && linear_.output_size() % 4 == 0;
  }

  CudaLinear linear_;
  DeviceWeight weight_;
  int processors_;
  std::int64_t few_rows_;  ///< Up to which launch_byte_product() is taken.
  bool has_gemm_;
};

template <typename Packed>
LinearKernel cuda_kernel(LinearOperation operation) {
  LinearKernel kernel = make_linear_kernel<Packed>(operation, "cuda");
  kernel.device = DeviceType::kCUDA;
  kernel.runs_here = cuda_runs_here;
  kernel.supports = [](const LinearProblem& problem) {
    return supports_device(problem, kOldestCapability);
  };
  return kernel;
}

}  // namespace

Support cuda_runs_here() {
  std::string refusal = cuda_refusal();
  return refusal.empty() ? Support::yes() : Support::no(std::move(refusal));
}

LinearKernel float_product_cuda(LinearOperation operation) {
  return cuda_kernel<CudaFloatLinear>(operation);
}

LinearKernel int8_product_cuda(LinearOperation operation) {
  LinearKernel kernel = cuda_kernel<CudaInt8Linear>(operation);
  kernel.supports = [](const LinearProblem& problem) {
    const Support device = supports_device(problem, kOldestCapability);
    return device.ok ? Int8Linear::supports(problem) : device;
  };
  return kernel;
}

}  // namespace torchao_cpp
