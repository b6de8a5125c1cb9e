// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cuda/device_weight.h"
#include "kernels/epilogue.h"

/// Products on a GPU, all asynchronous on a stream (a cudaStream_t). Pointers are the device's.
namespace torchao_cpp::cuda {

/// The left operand: x as the product takes it. Rows start at multiples of 16 bytes and are padded
/// with zeros to whole multiples of 16 elements.
struct OperandView {
  const void* data = nullptr;
  DType dtype = DType::kBFloat16;  ///< float32, float16, bfloat16 or int8
  std::int64_t rows = 0;
  std::int64_t stride = 0;  ///< Elements.
};

/// y of all rows by float32 sums outside of matrix units; reads the weight once for every few rows.
void launch_float_dot(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                      const EpilogueArgs& args, void* stream) noexcept;

/// The same for int8 codes: exact sums.
void launch_int8_dot(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                     const EpilogueArgs& args, void* stream) noexcept;

/// Weight rows n0 .. n0 + rows as values of `dtype`, [rows, stride].
void launch_dequantize(const WeightView& weight, std::int64_t n0, std::int64_t rows, DType dtype,
                       std::int64_t stride, void* out, void* stream) noexcept;

/// Weight rows ids[0], ids[id_stride], ... as values of `dtype`, [count, K].
void launch_embedding(const WeightView& weight, const std::int32_t* ids, std::int64_t count,
                      std::int64_t id_stride, DType dtype, void* out, void* stream) noexcept;

/// y of outputs n0 .. n0 + columns from sums [rows, columns] of float32 or, for int8 products,
/// int32.
void launch_finish(const Epilogue& epilogue, const EpilogueArgs& args, const SumBlock& block,
                   void* stream) noexcept;
/// The same from y itself, which holds the sums rounded to its dtype.
void launch_finish_in_place(const Epilogue& epilogue, const EpilogueArgs& args,
                            const SumBlock& block, void* stream) noexcept;

}  // namespace torchao_cpp::cuda
