// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/products.h"
#include "kernels/cuda/read_weight.cuh"

namespace torchao_cpp::cuda {
namespace {

constexpr int kWarps = 4;
constexpr unsigned kAllLanes = 0xffffffffu;

/// Rows of x that one pass over the weight takes.
constexpr int kRows = 4;

template <typename Sum>
__device__ Sum sum_of_warp(Sum v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

// Lane r finishes row m0 + r.
template <typename Sum>
__device__ void finish_rows(const Epilogue& epilogue, const EpilogueArgs& args,
                            const Sum (&sums)[kRows], std::int64_t m0, std::int64_t rows,
                            std::int64_t n) {
  const int lane = threadIdx.x % 32;
  Sum mine = 0;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const Sum sum = sum_of_warp(sums[r]);
    mine = lane == r ? sum : mine;
  }
  if (lane < kRows && m0 + lane < rows) finish_sum(epilogue, args, mine, m0 + lane, n);
}

// One warp an output: lanes lie along K.
template <int kBits, typename T>
__global__ void __launch_bounds__(32 * kWarps)
    float_dot(WeightView w, OperandView x, Epilogue epilogue, EpilogueArgs args) {
  __shared__ WeightTables<kBits> tables;
  tables.load(w);
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (n >= w.n) return;
  const std::int64_t units = (w.k + 7) / 8;
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * kRows;
  float sums[kRows] = {};
  const T* left[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r)
    left[r] = static_cast<const T*>(x.data) + min(m0 + r, x.rows - 1) * x.stride;
  for (std::int64_t unit = lane; unit < units; unit += 32) {
    float values[8];
    read_weight8<kBits>(w, tables, n, unit, values);
    // The operand's dtype, as the matrix products have it.
#pragma unroll
    for (float& value : values) value = to_float(from_float<T>(value));
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float v[8];
      load8(left[r] + 8 * unit, v);
#pragma unroll
      for (int i = 0; i < 8; ++i) sums[r] = fmaf(v[i], values[i], sums[r]);
    }
  }
  finish_rows(epilogue, args, sums, m0, x.rows, n);
}

__global__ void __launch_bounds__(32 * kWarps)
    int8_dot(WeightView w, OperandView x, Epilogue epilogue, EpilogueArgs args) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (n >= w.n) return;
  const auto* row = reinterpret_cast<const int4*>(w.codes + n * w.row_bytes);
  const std::int64_t units = (w.k + 15) / 16;
  const std::int64_t m0 = static_cast<std::int64_t>(blockIdx.y) * kRows;
  int sums[kRows] = {};
  const int4* left[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    left[r] = reinterpret_cast<const int4*>(static_cast<const std::int8_t*>(x.data) +
                                            min(m0 + r, x.rows - 1) * x.stride);
  }
  for (std::int64_t unit = lane; unit < units; unit += 32) {
    const int4 codes = row[unit];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int4 v = left[r][unit];
      sums[r] = __dp4a(v.x, codes.x, sums[r]);
      sums[r] = __dp4a(v.y, codes.y, sums[r]);
      sums[r] = __dp4a(v.z, codes.z, sums[r]);
      sums[r] = __dp4a(v.w, codes.w, sums[r]);
    }
  }
  finish_rows(epilogue, args, sums, m0, x.rows, n);
}

// Calls fn(grid, x, args) for as many rows as one grid takes, until all are done.
template <typename F>
void for_grids(const WeightView& weight, OperandView x, EpilogueArgs args, std::int64_t x_bytes,
               std::int64_t y_bytes, const F& fn) {
  constexpr std::int64_t kMostRows = 65535 * kRows;
  const auto blocks = static_cast<unsigned>((weight.n + kWarps - 1) / kWarps);
  for (std::int64_t left = x.rows; left > 0; left -= kMostRows) {
    x.rows = left < kMostRows ? left : kMostRows;
    fn(dim3(blocks, static_cast<unsigned>((x.rows + kRows - 1) / kRows)), x, args);
    x.data = static_cast<const std::byte*>(x.data) + x.rows * x.stride * x_bytes;
    args.y = static_cast<std::byte*>(args.y) + x.rows * args.y_stride * y_bytes;
    if (args.row_scale != nullptr) args.row_scale += x.rows;
    if (args.zero_point != nullptr) args.zero_point += x.rows;
  }
}

std::int64_t output_bytes(const Epilogue& epilogue) {
  return epilogue.output == ValueRounding::kNone ? 4 : 2;
}

}  // namespace

void launch_float_dot(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                      const EpilogueArgs& args, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  for_grids(weight, x, args, dtype_size_bytes(x.dtype), output_bytes(epilogue),
            [&](dim3 grid, const OperandView& rows, const EpilogueArgs& of_rows) {
              with_bits(weight.bits, [&](auto bits) {
                with_operand_type(x.dtype, [&]<typename T>(T) {
                  float_dot<decltype(bits)::value, T>
                      <<<grid, 32 * kWarps, 0, on>>>(weight, rows, epilogue, of_rows);
                });
              });
            });
}

void launch_int8_dot(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                     const EpilogueArgs& args, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  for_grids(weight, x, args, 1, output_bytes(epilogue),
            [&](dim3 grid, const OperandView& rows, const EpilogueArgs& of_rows) {
              int8_dot<<<grid, 32 * kWarps, 0, on>>>(weight, rows, epilogue, of_rows);
            });
}

}  // namespace torchao_cpp::cuda
