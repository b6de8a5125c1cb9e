// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/read_weight.cuh"

namespace torchao_cpp::cuda {
namespace {

constexpr int kThreads = 256;

// A thread takes eight columns; `units` of them a row, of which the last may be padding.
template <int kBits>
__global__ void __launch_bounds__(kThreads)
    dequantize(WeightView w, std::int64_t n0, DType dtype, std::int64_t stride, void* out) {
  __shared__ WeightTables<kBits> tables;
  tables.load(w);
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  const std::int64_t row = blockIdx.x;
  if (8 * unit >= stride) return;
  float values[8] = {};
  if (8 * unit < w.k) read_weight8<kBits>(w, tables, n0 + row, unit, values);
  const std::int64_t at = row * stride + 8 * unit;
  if (dtype == DType::kBFloat16) {
    store8(static_cast<__nv_bfloat16*>(out) + at, values);
  } else if (dtype == DType::kFloat16) {
    store8(static_cast<__half*>(out) + at, values);
  } else {
    store8(static_cast<float*>(out) + at, values);
  }
}

// A row of a table: K values, of which the last unit may have fewer than eight.
template <int kBits>
__global__ void __launch_bounds__(kThreads)
    embedding(WeightView w, const std::int32_t* ids, std::int64_t id_stride, DType dtype,
              void* out) {
  __shared__ WeightTables<kBits> tables;
  tables.load(w);
  const ValueRounding to = dtype == DType::kBFloat16  ? ValueRounding::kBFloat16
                           : dtype == DType::kFloat16 ? ValueRounding::kFloat16
                                                      : ValueRounding::kNone;
  const std::int64_t row = ids[blockIdx.x * id_stride];
  for (std::int64_t unit = threadIdx.x; 8 * unit < w.k; unit += kThreads) {
    float values[8];
    read_weight8<kBits>(w, tables, row, unit, values);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (8 * unit + i < w.k) store_value(to, out, blockIdx.x * w.k + 8 * unit + i, values[i]);
    }
  }
}

enum class Sums { kFloat, kInt, kInPlace };

template <Sums kSums>
__global__ void __launch_bounds__(kThreads)
    finish(Epilogue epilogue, EpilogueArgs args, SumBlock block) {
  const std::int64_t c = static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x;
  if (c >= block.columns) return;
  const std::int64_t r = blockIdx.x;
  const std::int64_t m = block.m0 + r;
  const std::int64_t n = block.n0 + c;
  const std::int64_t at = r * block.columns + c;
  if constexpr (kSums == Sums::kFloat) {
    finish_sum(epilogue, args, static_cast<const float*>(block.sums)[at], m, n);
  } else if constexpr (kSums == Sums::kInt) {
    finish_sum(epilogue, args, static_cast<const std::int32_t*>(block.sums)[at], m, n);
  } else {
    finish_sum(epilogue, args, load_value(epilogue.output, args.y, m * args.y_stride + n), m, n);
  }
}

// Eight outputs a thread, for y of two bytes.
template <typename Sum>
__global__ void __launch_bounds__(kThreads)
    finish8(Epilogue epilogue, EpilogueArgs args, SumBlock block) {
  const std::int64_t c = (static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x) * 8;
  if (c >= block.columns) return;
  const std::int64_t m = block.m0 + blockIdx.x;
  const std::int64_t n = block.n0 + c;
  alignas(16) Sum sums[8];
  const auto* from = reinterpret_cast<const uint4*>(static_cast<const Sum*>(block.sums) +
                                                    blockIdx.x * block.columns + c);
  reinterpret_cast<uint4*>(sums)[0] = from[0];
  reinterpret_cast<uint4*>(sums)[1] = from[1];
  float values[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = finished_value(epilogue, args, sums[i], m, n + i);
  const std::int64_t at = m * args.y_stride + n;
  if (epilogue.output == ValueRounding::kBFloat16) {
    store8(static_cast<__nv_bfloat16*>(args.y) + at, values);
  } else {
    store8(static_cast<__half*>(args.y) + at, values);
  }
}

bool takes_eight(const Epilogue& epilogue, const EpilogueArgs& args, const SumBlock& block) {
  return epilogue.output != ValueRounding::kNone && block.columns % 8 == 0 && block.n0 % 8 == 0 &&
         args.y_stride % 8 == 0 && reinterpret_cast<std::uintptr_t>(args.y) % 16 == 0 &&
         reinterpret_cast<std::uintptr_t>(block.sums) % 16 == 0;
}

dim3 finish_grid(const SumBlock& block) {
  return {static_cast<unsigned>(block.rows),
          static_cast<unsigned>((block.columns + kThreads - 1) / kThreads)};
}

}  // namespace

void launch_dequantize(const WeightView& weight, std::int64_t n0, std::int64_t rows, DType dtype,
                       std::int64_t stride, void* out, void* stream) noexcept {
  const dim3 grid(static_cast<unsigned>(rows),
                  static_cast<unsigned>((stride / 8 + kThreads - 1) / kThreads));
  with_bits(weight.bits, [&](auto bits) {
    dequantize<decltype(bits)::value>
        <<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(weight, n0, dtype, stride, out);
  });
}

void launch_embedding(const WeightView& weight, const std::int32_t* ids, std::int64_t count,
                      std::int64_t id_stride, DType dtype, void* out, void* stream) noexcept {
  with_bits(weight.bits, [&](auto bits) {
    embedding<decltype(bits)::value>
        <<<static_cast<unsigned>(count), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
            weight, ids, id_stride, dtype, out);
  });
}

void launch_finish(const Epilogue& epilogue, const EpilogueArgs& args, const SumBlock& block,
                   void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  if (takes_eight(epilogue, args, block)) {
    const dim3 grid(static_cast<unsigned>(block.rows),
                    static_cast<unsigned>((block.columns / 8 + kThreads - 1) / kThreads));
    if (epilogue.has_int_sums) {
      finish8<std::int32_t><<<grid, kThreads, 0, on>>>(epilogue, args, block);
    } else {
      finish8<float><<<grid, kThreads, 0, on>>>(epilogue, args, block);
    }
  } else if (epilogue.has_int_sums) {
    finish<Sums::kInt><<<finish_grid(block), kThreads, 0, on>>>(epilogue, args, block);
  } else {
    finish<Sums::kFloat><<<finish_grid(block), kThreads, 0, on>>>(epilogue, args, block);
  }
}

void launch_finish_in_place(const Epilogue& epilogue, const EpilogueArgs& args,
                            const SumBlock& block, void* stream) noexcept {
  finish<Sums::kInPlace><<<finish_grid(block), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      epilogue, args, block);
}

}  // namespace torchao_cpp::cuda
