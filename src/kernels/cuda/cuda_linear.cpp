// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cuda_linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/workspace.h"

namespace torchao_cpp::cuda {
namespace {

/// What values and sums of a stretch may take of the L2 cache.
constexpr std::int64_t kStretchBytes = 32 << 20;
/// Outputs of a stretch are whole multiples of this.
constexpr std::int64_t kStretchUnit = 256;
constexpr std::int64_t kVectorBytes = 16;

bool is_aligned(const void* p) noexcept {
  return reinterpret_cast<std::uintptr_t>(p) % kVectorBytes == 0;
}

DeviceBuffer uploaded(const void* host, std::int64_t bytes, int device) {
  return host == nullptr ? DeviceBuffer() : DeviceBuffer(host, bytes, device);
}

}  // namespace

CudaLinear::CudaLinear(const LinearProblem& problem, const ActivationPlan& plan,
                       const Epilogue& host)
    : device_(problem.device.index),
      activation_dtype_(problem.activation_dtype),
      output_size_(problem.output_size()),
      plan_(plan),
      epilogue_(host),
      column_scale_(uploaded(host.column_scale, output_size_ * 4, device_)),
      code_sums_(uploaded(host.code_sums, output_size_ * 4, device_)),
      lt_(device_) {
  if (problem.quantized != nullptr && problem.quantized->act_pre_scale.defined()) {
    const Tensor& t = problem.quantized->act_pre_scale;
    pre_scale_ = DeviceBuffer(t.bytes(), t.nbytes(), device_);
    plan_.pre_scale = pre_scale_.data();
  }
  epilogue_.column_scale = column_scale_.as<float>();
  epilogue_.code_sums = code_sums_.as<std::int32_t>();
}

std::int64_t CudaLinear::nbytes() const noexcept {
  return pre_scale_.nbytes() + column_scale_.nbytes() + code_sums_.nbytes();
}

std::int64_t CudaLinear::stretch(std::int64_t m, std::int64_t value_bytes) const noexcept {
  const std::int64_t of_sums = m * 4;
  const std::int64_t columns = kStretchBytes / std::max({value_bytes, of_sums, std::int64_t{1}});
  return std::min(std::max(columns / kStretchUnit, std::int64_t{1}) * kStretchUnit, output_size_);
}

CudaLinear::Scratch CudaLinear::scratch(std::int64_t m, bool uses_lt, std::int64_t value_bytes,
                                        std::byte* workspace) const noexcept {
  Workspace space(workspace);
  Scratch s;
  // cuBLASLt's comes first, where it is best aligned.
  if (uses_lt) {
    s.lt = space.take<std::byte>(LtGemm::kWorkspaceBytes);
    const std::int64_t columns = stretch(m, value_bytes);
    if (value_bytes > 0) s.values = space.take<std::byte>(columns * value_bytes);
    s.sums = space.take<float>(m * columns);
  }
  s.activation.operand = space.take<std::byte>(plan_.operand_bytes(m));
  if (plan_.has_row_scale) s.activation.row_scale = space.take<float>(m);
  if (epilogue_.has_code_zero) s.activation.zero_point = space.take<std::int8_t>(m);
  if (plan_.is_per_tensor) s.activation.ends = space.take<float>(2 * m + 2);
  s.total_bytes = space.used_bytes();
  return s;
}

OperandView CudaLinear::prepare(const LinearArgs& args, const Scratch& scratch) const noexcept {
  const bool is_operand = plan_.kind == ActivationQuant::Kind::kNone &&
                          plan_.pre_scale == nullptr &&
                          rounding_to(plan_.operand_dtype) == plan_.x_dtype &&
                          plan_.stride() == plan_.columns && is_aligned(args.x);
  const DType dtype = plan_.form == OperandForm::kInt8     ? DType::kInt8
                      : plan_.form == OperandForm::kFloat8 ? plan_.element_dtype
                                                           : plan_.operand_dtype;
  if (is_operand) return {args.x, dtype, args.m, plan_.columns};
  launch_activation(plan_, args.x, args.m, scratch.activation, args.stream.handle);
  return {scratch.activation.operand, dtype, args.m, plan_.stride()};
}

EpilogueArgs CudaLinear::epilogue_args(const LinearArgs& args,
                                       const Scratch& scratch) const noexcept {
  return {scratch.activation.row_scale, scratch.activation.zero_point, args.bias, args.y,
          args.y_stride};
}

bool run_by_values(const CudaLinear& linear, const LinearArgs& args, const OperandView& x,
                   const CudaLinear::Scratch& scratch, const void* weight,
                   ReadRows read_rows) noexcept {
  const Epilogue& e = linear.epilogue();
  const EpilogueArgs finish = linear.epilogue_args(args, scratch);
  const DType dtype = linear.activation_dtype();
  const std::int64_t element = dtype_size_bytes(dtype);
  const std::int64_t columns = linear.stretch(args.m, x.stride * dtype_size_bytes(x.dtype));
  // Where the first thing that becomes of a sum is the rounding to y's dtype, the product writes y
  // itself.
  const bool is_rounded_first =
      e.rounds_sum || (e.column_scale == nullptr && (args.bias == nullptr || e.rounds_before_bias));
  const bool is_in_place = x.dtype == dtype && finish.row_scale == nullptr && is_rounded_first &&
                           is_aligned(args.y) && args.y_stride * element % kVectorBytes == 0;
  // A plain weight is its own values; a product that writes y needs no sums, and so no stretches.
  const auto* plain = read_rows == nullptr ? static_cast<const WeightView*>(weight) : nullptr;
  const std::int64_t stretch = plain != nullptr && is_in_place ? linear.output_size() : columns;
  for (std::int64_t n0 = 0; n0 < linear.output_size(); n0 += stretch) {
    const std::int64_t count = std::min(stretch, linear.output_size() - n0);
    const void* values = scratch.values;
    LtProduct product{x.dtype,  x.dtype,  is_in_place ? dtype : DType::kFloat32,
                      args.m,   count,    x.stride,
                      x.stride, x.stride, is_in_place ? args.y_stride : count};
    if (plain != nullptr) {
      values = plain->codes + n0 * plain->row_bytes;
      product.weight_stride = plain->row_bytes / dtype_size_bytes(x.dtype);
    } else {
      read_rows(weight, n0, count, x.dtype, x.stride, scratch.values, args.stream.handle);
    }
    void* out = is_in_place ? static_cast<std::byte*>(args.y) + n0 * element : scratch.sums;
    if (!linear.lt().run(product, x.data, values, out, scratch.lt, args.stream.handle))
      return false;
    const SumBlock block{scratch.sums, 0, args.m, n0, count};
    if (!is_in_place) {
      launch_finish(e, finish, block, args.stream.handle);
    } else if (e.column_scale != nullptr || args.bias != nullptr) {
      launch_finish_in_place(e, finish, block, args.stream.handle);
    }
  }
  return true;
}

namespace {

// float8 codes with one scale a row of each side, which the product applies itself.
bool run_by_scaled_codes(const CudaLinear& linear, const LinearArgs& args, const OperandView& x,
                         const CudaLinear::Scratch& scratch, const WeightView& weight,
                         DType weight_dtype) noexcept {
  Epilogue e = linear.epilogue();
  EpilogueArgs finish = linear.epilogue_args(args, scratch);
  const DType dtype = linear.activation_dtype();
  const bool is_plain_scaling = finish.row_scale != nullptr && e.column_scale != nullptr &&
                                !e.rounds_sum && !e.rounds_scaled && !e.has_code_zero &&
                                (args.bias == nullptr || e.rounds_before_bias) &&
                                e.compute == rounding_to(dtype);
  if (!is_plain_scaling || dtype == DType::kFloat32 || weight_dtype == DType::kInt8 ||
      !is_aligned(args.y) || args.y_stride * dtype_size_bytes(dtype) % kVectorBytes != 0)
    return false;
  const LtProduct product{x.dtype,  weight_dtype,     dtype,         args.m, weight.n, x.stride,
                          x.stride, weight.row_bytes, args.y_stride, true};
  if (!linear.lt().run(product, x.data, weight.codes, args.y, scratch.lt, args.stream.handle,
                       {finish.row_scale, e.column_scale}))
    return false;
  if (args.bias == nullptr) return true;
  e.column_scale = nullptr;
  finish.row_scale = nullptr;
  launch_finish_in_place(e, finish, {nullptr, 0, args.m, 0, weight.n}, args.stream.handle);
  return true;
}

}  // namespace

bool run_by_codes(const CudaLinear& linear, const LinearArgs& args, const OperandView& x,
                  const CudaLinear::Scratch& scratch, const WeightView& weight, DType weight_dtype,
                  bool use_fast_accum) noexcept {
  if (use_fast_accum && run_by_scaled_codes(linear, args, x, scratch, weight, weight_dtype))
    return true;
  const std::int64_t columns = linear.stretch(args.m, 0);
  const DType sums = weight_dtype == DType::kInt8 ? DType::kInt32 : DType::kFloat32;
  for (std::int64_t n0 = 0; n0 < linear.output_size(); n0 += columns) {
    const std::int64_t count = std::min(columns, linear.output_size() - n0);
    const LtProduct product{x.dtype,  weight_dtype,     sums, args.m, count, x.stride,
                            x.stride, weight.row_bytes, count};
    if (!linear.lt().run(product, x.data, weight.codes + n0 * weight.row_bytes, scratch.sums,
                         scratch.lt, args.stream.handle))
      return false;
    launch_finish(linear.epilogue(), linear.epilogue_args(args, scratch),
                  {scratch.sums, 0, args.m, n0, count}, args.stream.handle);
  }
  return true;
}

Support supports_device(const LinearProblem& problem, int capability) {
  const int index = problem.device.index;
  if (index < 0 || index >= cuda_device_count()) {
    return Support::no(
        fmt::format("GPU {} is asked for; the machine has {}", index, cuda_device_count()));
  }
  const int has = cuda_capability(index);
  if (has >= capability) return Support::yes();
  return Support::no(fmt::format("GPU {} has compute capability {:.1f}; expected {:.1f} or newer",
                                 index, has / 10.0, capability / 10.0));
}

}  // namespace torchao_cpp::cuda
