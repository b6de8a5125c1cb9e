// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/linear.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/cuda/cuda_device.h"
#include "linear/kernel_choice.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {

std::shared_ptr<std::byte> allocate_on_device(Device device, std::int64_t bytes) {
  if (device.type == DeviceType::kCUDA) {
    auto buffer = std::make_shared<DeviceBuffer>(bytes, device.index);
    std::byte* const data = buffer->data();
    return {std::move(buffer), data};
  }
  auto tensor = std::make_shared<Tensor>(Tensor::empty(DType::kUInt8, {bytes}));
  std::byte* const data = tensor->mutable_bytes();
  return {std::move(tensor), data};
}

struct Linear::Impl {
  DType activation_dtype = DType::kBFloat16;
  std::int64_t output_size = 0;
  std::int64_t input_size = 0;
  std::string kernel_name;
  Device device;
  KernelChoice choice;
  std::unique_ptr<PackedWeight> packed;
};

Linear::Linear(LoadedWeight weight, DType activation_dtype, std::string_view force_kernel,
               Device device)
    : impl_(std::make_unique<Impl>()) {
  LinearProblem problem;
  QuantizedWeight description;
  if (weight.quantized) {
    description = weight.quantized->to_quantized_weight();
    problem.quantized = &description;
  } else {
    if (!weight.plain.defined() || weight.plain.dim() != 2)
      throw ShapeError(fmt::format("Linear: the weight is {}; expected [N, K]",
                                   shape_to_string(weight.plain.shape())));
    if (!is_high_precision(weight.plain.dtype())) {
      throw UnsupportedError(
          fmt::format("Linear: the weight is {}; expected float32, float16 or bfloat16",
                      dtype_name(weight.plain.dtype())));
    }
    problem.plain = weight.plain;
  }
  problem.activation_dtype = activation_dtype;
  problem.device = device;
  impl_->activation_dtype = activation_dtype;
  impl_->device = device;
  impl_->output_size = problem.output_size();
  impl_->input_size = problem.input_size();
  impl_->choice = choose_kernel(problem, force_kernel);
  impl_->kernel_name = impl_->choice.kernel->name();
  impl_->packed = impl_->choice.kernel->pack(problem);
}

Linear::~Linear() = default;
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;

std::int64_t Linear::input_size() const noexcept { return impl_->input_size; }
std::int64_t Linear::output_size() const noexcept { return impl_->output_size; }
std::string_view Linear::kernel_name() const noexcept { return impl_->kernel_name; }
std::span<const std::string> Linear::rejected_kernels() const noexcept {
  return impl_->choice.rejected;
}
std::int64_t Linear::packed_bytes() const noexcept { return impl_->packed->nbytes(); }

std::int64_t Linear::workspace_bytes(std::int64_t m) const noexcept {
  return impl_->choice.kernel->workspace_bytes(*impl_->packed, m);
}

void Linear::apply(const void* x, std::int64_t m, const void* bias, void* y, std::int64_t y_stride,
                   const LinearContext& context) const noexcept {
  if (m <= 0) return;
  impl_->choice.kernel->run(*impl_->packed,
                            {m, x, bias, y, y_stride, context.workspace, context.stream});
}

Tensor Linear::operator()(const Tensor& x, const Tensor& bias) const {
  if (x.dim() != 2 || x.shape()[1] != input_size()) {
    throw ShapeError(
        fmt::format("Linear: x is {}; expected [M, {}]", shape_to_string(x.shape()), input_size()));
  }
  if (bias.defined() &&
      (bias.numel() != output_size() || bias.dtype() != impl_->activation_dtype)) {
    throw ShapeError(fmt::format("Linear: the bias is {} {}; expected {} [{}]",
                                 dtype_name(bias.dtype()), shape_to_string(bias.shape()),
                                 dtype_name(impl_->activation_dtype), output_size()));
  }
  if (x.dtype() != impl_->activation_dtype) {
    throw ShapeError(fmt::format("Linear: x is {}; the linear was built for {}",
                                 dtype_name(x.dtype()), dtype_name(impl_->activation_dtype)));
  }
  const std::int64_t m = x.shape()[0];
  Tensor y = Tensor::empty(x.dtype(), {m, output_size()});
  if (impl_->device.type == DeviceType::kCUDA) {
    const int index = impl_->device.index;
    const DeviceBuffer input(x.bytes(), x.nbytes(), index);
    const DeviceBuffer added(bias.bytes(), bias.nbytes(), index);
    const DeviceBuffer output(y.nbytes(), index);
    const DeviceBuffer scratch(workspace_bytes(m), index);
    apply(input.data(), m, added.data(), output.data(), output_size(), {scratch.data(), {}});
    output.download(y.mutable_bytes(), y.nbytes());
    return y;
  }
  Tensor workspace = Tensor::empty(DType::kUInt8, {std::max<std::int64_t>(workspace_bytes(m), 1)});
  apply(x.bytes(), m, bias.defined() ? bias.bytes() : nullptr, y.mutable_bytes(), output_size(),
        {workspace.mutable_bytes(), {}});
  return y;
}

}  // namespace torchao_cpp
