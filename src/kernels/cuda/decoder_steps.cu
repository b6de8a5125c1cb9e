// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/decoder_steps.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rounding.cuh"

namespace torchao_cpp::cuda {
namespace {

constexpr int kMostThreads = 512;
/// Of a block that holds a row in registers.
constexpr int kMostHolders = 1024;
constexpr int kHeadsPerBlock = 8;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ float sum_of_warp(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

__device__ float sum_of_block(float v) {
  __shared__ float warps[kMostHolders / 32];
  v = sum_of_warp(v);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < static_cast<int>(blockDim.x) / 32; ++i) sum += warps[i];
  return sum;
}

template <typename T>
__device__ float rounded(float v) {
  return to_float(from_float<T>(v));
}

/// kWidth values at a time: 8 where rows lie at multiples of 16 bytes, else 1.
template <typename T, int kWidth>
struct Values {
  static __device__ void load(const T* from, float (&out)[kWidth]) {
    if constexpr (kWidth == 8) {
      load8(from, out);
    } else {
      out[0] = to_float(*from);
    }
  }
  static __device__ void store(T* to, const float (&values)[kWidth]) {
    if constexpr (kWidth == 8) {
      store8(to, values);
    } else {
      *to = from_float<T>(values[0]);
    }
  }
};

/// `v` += `from`, rounded, and stored to `to`.
template <typename T, int kWidth>
__device__ void add_rounded(const T* from, T* to, float (&v)[kWidth]) {
  float d[kWidth];
  Values<T, kWidth>::load(from, d);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) v[j] = rounded<T>(v[j] + d[j]);
  Values<T, kWidth>::store(to, v);
}

// A block a row; a thread reads again only what it wrote itself.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kMostThreads) add_and_norm(NormArgs args) {
  using V = Values<T, kWidth>;
  const std::int64_t first = blockIdx.x * args.columns;
  T* hidden = static_cast<T*>(args.hidden) + first;
  const T* delta = args.delta == nullptr ? nullptr : static_cast<const T*>(args.delta) + first;
  const T* weight = static_cast<const T*>(args.weight);
  T* out = static_cast<T*>(args.out) + first;
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * kWidth;
  const std::int64_t begin = static_cast<std::int64_t>(threadIdx.x) * kWidth;
  float sum = 0.0f;
  let_next_start();
  wait_for_previous();
  for (std::int64_t i = begin; i < args.columns; i += step) {
    float v[kWidth];
    V::load(hidden + i, v);
    if (delta != nullptr) add_rounded<T, kWidth>(delta + i, hidden + i, v);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum = fmaf(v[j], v[j], sum);
  }
  const float scale = 1.0f / sqrtf(sum_of_block(sum) / static_cast<float>(args.columns) + args.eps);
  for (std::int64_t i = begin; i < args.columns; i += step) {
    float v[kWidth];
    float w[kWidth];
    V::load(hidden + i, v);
    V::load(weight + i, w);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) v[j] = w[j] * rounded<T>(v[j] * scale);
    V::store(out + i, v);
  }
}

// The same where a thread has eight columns, which it keeps; what no kernel writes is read before
// earlier kernels are done.
template <typename T>
__global__ void __launch_bounds__(kMostHolders) add_and_norm_held(NormArgs args) {
  using V = Values<T, 8>;
  const std::int64_t i = 8 * static_cast<std::int64_t>(threadIdx.x);
  const bool has_columns = i < args.columns;
  const std::int64_t at = blockIdx.x * args.columns + i;
  T* hidden = static_cast<T*>(args.hidden) + at;
  float w[8];
  float v[8];
  float sum = 0.0f;
  let_next_start();
  if (has_columns) V::load(static_cast<const T*>(args.weight) + i, w);
  wait_for_previous();
  if (has_columns) {
    V::load(hidden, v);
    if (args.delta != nullptr) add_rounded<T, 8>(static_cast<const T*>(args.delta) + at, hidden, v);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum = fmaf(v[j], v[j], sum);
  }
  const float scale = 1.0f / sqrtf(sum_of_block(sum) / static_cast<float>(args.columns) + args.eps);
  if (!has_columns) return;
#pragma unroll
  for (int j = 0; j < 8; ++j) v[j] = w[j] * rounded<T>(v[j] * scale);
  V::store(static_cast<T*>(args.out) + at, v);
}

// As add_and_norm, but that the squares are of what is left without the mean.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kMostThreads) add_and_layer_norm(NormArgs args) {
  using V = Values<T, kWidth>;
  const std::int64_t first = blockIdx.x * args.columns;
  T* hidden = static_cast<T*>(args.hidden) + first;
  const T* delta = args.delta == nullptr ? nullptr : static_cast<const T*>(args.delta) + first;
  const T* weight = static_cast<const T*>(args.weight);
  const T* bias = static_cast<const T*>(args.bias);
  T* out = static_cast<T*>(args.out) + first;
  const std::int64_t step = static_cast<std::int64_t>(blockDim.x) * kWidth;
  const std::int64_t begin = static_cast<std::int64_t>(threadIdx.x) * kWidth;
  const auto columns = static_cast<float>(args.columns);
  float sum = 0.0f;
  let_next_start();
  wait_for_previous();
  for (std::int64_t i = begin; i < args.columns; i += step) {
    float v[kWidth];
    V::load(hidden + i, v);
    if (delta != nullptr) add_rounded<T, kWidth>(delta + i, hidden + i, v);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += v[j];
  }
  const float mean = sum_of_block(sum) / columns;
  float squares = 0.0f;
  for (std::int64_t i = begin; i < args.columns; i += step) {
    float v[kWidth];
    V::load(hidden + i, v);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) squares = fmaf(v[j] - mean, v[j] - mean, squares);
  }
  __syncthreads();  // Every thread has read the first sum.
  const float scale = 1.0f / sqrtf(sum_of_block(squares) / columns + args.eps);
  for (std::int64_t i = begin; i < args.columns; i += step) {
    float v[kWidth];
    float w[kWidth];
    float b[kWidth];
    V::load(hidden + i, v);
    if (weight != nullptr) V::load(weight + i, w);
    if (bias != nullptr) V::load(bias + i, b);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const float y = (v[j] - mean) * scale;
      const float scaled = weight == nullptr ? y : y * w[j];
      v[j] = bias == nullptr ? scaled : scaled + b[j];
    }
    V::store(out + i, v);
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(256)
    add_positions(const T* table, const TokenRow* tokens, std::int64_t offset, std::int64_t columns,
                  T* hidden) {
  const std::int64_t row = blockIdx.y;
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x) * kWidth;
  let_next_start();
  wait_for_previous();
  if (i >= columns) return;
  float v[kWidth];
  T* to = hidden + row * columns + i;
  Values<T, kWidth>::load(to, v);
  add_rounded<T, kWidth>(table + (tokens[row].position + offset) * columns + i, to, v);
}

/// Two neighbouring values.
template <typename T>
struct alignas(2 * sizeof(T)) Two {
  T x, y;
};

/// One head of one token: a warp, of which a lane takes two neighbours in each half.
template <typename T>
struct Head {
  const T* x;
  const T* norm;
  float scale;  ///< 1 / the root mean square, where there is a norm.
  int dim;
  int half;

  __device__ Head(const T* x, const T* norm, float eps, int head_dim)
      : x(x), norm(norm), scale(1.0f), dim(head_dim), half(head_dim / 2) {
    if (norm == nullptr) return;
    float sum = 0.0f;
    for (int i = threadIdx.x % 32; i < head_dim; i += 32) {
      const float v = to_float(x[i]);
      sum = fmaf(v, v, sum);
    }
    scale = 1.0f / sqrtf(sum_of_warp(sum) / static_cast<float>(head_dim) + eps);
  }

  __device__ float value(T v, int i) const {
    const float own = to_float(v);
    return norm == nullptr ? own : rounded<T>(to_float(norm[i]) * rounded<T>(own * scale));
  }

  __device__ static void turn_pair(float a, float b, float cos, float sin, T& low, T& high) {
    low = from_float<T>(rounded<T>(a * cos) - rounded<T>(b * sin));
    high = from_float<T>(rounded<T>(b * cos) + rounded<T>(a * sin));
  }

  __device__ void turn(const float* cos, const float* sin, T* out) const {
    if (cos == nullptr) {
      for (int i = threadIdx.x % 32; i < dim; i += 32) out[i] = from_float<T>(value(x[i], i));
      return;
    }
    const int lane = threadIdx.x % 32;
    // Halves of odd size begin between two pairs.
    if (half % 2 != 0 || reinterpret_cast<std::uintptr_t>(x) % (2 * sizeof(T)) != 0) {
      for (int i = lane; i < half; i += 32)
        turn_pair(value(x[i], i), value(x[i + half], i + half), cos[i], sin[i], out[i],
                  out[i + half]);
      return;
    }
    for (int i = 2 * lane; i < half; i += 64) {
      const Two<T> a = *reinterpret_cast<const Two<T>*>(x + i);
      const Two<T> b = *reinterpret_cast<const Two<T>*>(x + i + half);
      const float2 c = *reinterpret_cast<const float2*>(cos + i);
      const float2 s = *reinterpret_cast<const float2*>(sin + i);
      Two<T> low;
      Two<T> high;
      turn_pair(value(a.x, i), value(b.x, i + half), c.x, s.x, low.x, high.x);
      turn_pair(value(a.y, i + 1), value(b.y, i + 1 + half), c.y, s.y, low.y, high.y);
      *reinterpret_cast<Two<T>*>(out + i) = low;
      *reinterpret_cast<Two<T>*>(out + i + half) = high;
    }
  }
};

template <typename T>
__device__ const T* head_at(const RowsView& view, std::int64_t row, int head, int head_dim) {
  return reinterpret_cast<const T*>(view.data) + row * view.stride + head * head_dim;
}

template <typename T>
__global__ void __launch_bounds__(32 * kHeadsPerBlock) transform_qkv(QkvArgs args) {
  const std::int64_t row = blockIdx.x;
  int head = blockIdx.y * kHeadsPerBlock + threadIdx.x / 32;
  let_next_start();
  if (head >= args.num_heads + 2 * args.num_kv_heads) return;
  // No kernel writes the tables.
  const TokenRow token = args.tokens[row];
  const CacheView cache = args.caches[token.sequence];
  const int dim = args.head_dim;
  const bool rotates = args.cos != nullptr;
  const std::int64_t angles = static_cast<std::int64_t>(token.position) * (dim / 2);
  const float* cos = rotates ? args.cos + angles : nullptr;
  const float* sin = rotates ? args.sin + angles : nullptr;
  wait_for_previous();
  if (head < args.num_heads) {
    T* out = static_cast<T*>(args.q_out) + (row * args.num_heads + head) * dim;
    Head<T>(head_at<T>(args.q, row, head, dim), static_cast<const T*>(args.q_norm), args.eps, dim)
        .turn(cos, sin, out);
    return;
  }
  head -= args.num_heads;
  const bool is_key = head < args.num_kv_heads;
  if (!is_key) head -= args.num_kv_heads;
  T* out = reinterpret_cast<T*>(is_key ? cache.keys : cache.values) +
           args.layer * cache.layer_stride + head * cache.head_stride +
           static_cast<std::int64_t>(token.position) * dim;
  if (is_key) {
    Head<T>(head_at<T>(args.k, row, head, dim), static_cast<const T*>(args.k_norm), args.eps, dim)
        .turn(cos, sin, out);
  } else {
    const T* from = head_at<T>(args.v, row, head, dim);
    for (int i = threadIdx.x % 32; i < dim; i += 32) out[i] = from[i];
  }
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(256)
    silu_mul(RowsView gate, RowsView up, std::int64_t columns, T* out) {
  using V = Values<T, kWidth>;
  const std::int64_t row = blockIdx.y;
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x) * kWidth;
  let_next_start();
  wait_for_previous();
  if (i >= columns) return;
  float g[kWidth];
  float u[kWidth];
  V::load(reinterpret_cast<const T*>(gate.data) + row * gate.stride + i, g);
  V::load(reinterpret_cast<const T*>(up.data) + row * up.stride + i, u);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) u[j] *= rounded<T>(g[j] / (1.0f + expf(-g[j])));
  V::store(out + row * columns + i, u);
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(256) relu(T* x, std::int64_t count) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * 256 + threadIdx.x) * kWidth;
  let_next_start();
  wait_for_previous();
  if (i >= count) return;
  float v[kWidth];
  Values<T, kWidth>::load(x + i, v);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) v[j] = v[j] < 0.0f ? 0.0f : v[j];  // NaN stays.
  Values<T, kWidth>::store(x + i, v);
}

__global__ void __launch_bounds__(256)
    gather_rows(const std::uint16_t* from, const std::int32_t* picked, std::int64_t columns,
                std::uint16_t* out) {
  let_next_start();
  wait_for_previous();
  const std::int64_t to = blockIdx.x * columns;
  const std::int64_t row = picked[blockIdx.x] * columns;
  for (std::int64_t i = threadIdx.x; i < columns; i += 256) out[to + i] = from[row + i];
}

template <typename T>
__global__ void __launch_bounds__(256)
    best_of_rows(const T* values, std::int64_t columns, BestValue* out) {
  __shared__ BestValue warps[8];
  const T* row = values + blockIdx.x * columns;
  const int begin = static_cast<int>(columns * blockIdx.y / kBestParts);
  const int end = static_cast<int>(columns * (blockIdx.y + 1) / kBestParts);
  let_next_start();
  wait_for_previous();
  BestValue best{to_float(row[0]), 0};
  if (begin < end) best = {to_float(row[begin]), begin};
#pragma unroll 8
  for (int i = begin + threadIdx.x; i < end; i += 256) best = better(best, {to_float(row[i]), i});
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    best = better(best, {__shfl_xor_sync(kAllLanes, best.value, offset),
                         __shfl_xor_sync(kAllLanes, best.index, offset)});
  }
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < 8; ++i) best = better(best, warps[i]);
  out[blockIdx.x * kBestParts + blockIdx.y] = best;
}

bool is_wide(std::int64_t columns, std::initializer_list<const void*> pointers,
             std::initializer_list<std::int64_t> strides) {
  bool wide = columns % 8 == 0;
  for (const void* p : pointers) wide = wide && reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
  for (const std::int64_t s : strides) wide = wide && s % 8 == 0;
  return wide;
}

struct NormLaunch {
  explicit NormLaunch(const NormArgs& args)
      : wide(is_wide(args.columns, {args.weight, args.bias, args.hidden, args.delta, args.out},
                     {})) {
    const std::int64_t units = (args.columns + (wide ? 7 : 0)) / (wide ? 8 : 1);
    holders = static_cast<unsigned>((units + 31) / 32 * 32);
    threads = min(holders, static_cast<unsigned>(kMostThreads));
    rows = static_cast<unsigned>(args.rows);
  }

  bool wide;
  unsigned holders = 0;  ///< Threads that hold eight columns each.
  unsigned threads = 0;
  unsigned rows = 0;
};

}  // namespace

void launch_add_and_norm(DType dtype, const NormArgs& args, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const NormLaunch launch(args);
  with_operand_type(dtype, [&]<typename T>(T) {
    if (launch.wide && args.columns <= 8 * kMostHolders) {
      launch_beside(add_and_norm_held<T>, launch.rows, launch.holders, 0, on, args);
    } else if (launch.wide) {
      launch_beside(add_and_norm<T, 8>, launch.rows, launch.threads, 0, on, args);
    } else {
      launch_beside(add_and_norm<T, 1>, launch.rows, launch.threads, 0, on, args);
    }
  });
}

void launch_add_and_layer_norm(DType dtype, const NormArgs& args, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const NormLaunch launch(args);
  with_operand_type(dtype, [&]<typename T>(T) {
    if (launch.wide) {
      launch_beside(add_and_layer_norm<T, 8>, launch.rows, launch.threads, 0, on, args);
    } else {
      launch_beside(add_and_layer_norm<T, 1>, launch.rows, launch.threads, 0, on, args);
    }
  });
}

void launch_add_positions(DType dtype, const void* table, const TokenRow* tokens,
                          std::int64_t offset, std::int64_t rows, std::int64_t columns,
                          void* hidden, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool wide = is_wide(columns, {table, hidden}, {});
  const std::int64_t each = wide ? 2048 : 256;
  const dim3 grid(static_cast<unsigned>((columns + each - 1) / each), static_cast<unsigned>(rows));
  with_operand_type(dtype, [&]<typename T>(T) {
    const auto* from = static_cast<const T*>(table);
    auto* to = static_cast<T*>(hidden);
    if (wide) {
      launch_beside(add_positions<T, 8>, grid, 256, 0, on, from, tokens, offset, columns, to);
    } else {
      launch_beside(add_positions<T, 1>, grid, 256, 0, on, from, tokens, offset, columns, to);
    }
  });
}

void launch_transform_qkv(DType dtype, const QkvArgs& args, void* stream) noexcept {
  const int heads = args.num_heads + 2 * args.num_kv_heads;
  const dim3 grid(static_cast<unsigned>(args.rows),
                  static_cast<unsigned>((heads + kHeadsPerBlock - 1) / kHeadsPerBlock));
  with_operand_type(dtype, [&]<typename T>(T) {
    launch_beside(transform_qkv<T>, grid, 32 * kHeadsPerBlock, 0, static_cast<cudaStream_t>(stream),
                  args);
  });
}

void launch_silu_mul(DType dtype, const RowsView& gate, const RowsView& up, std::int64_t rows,
                     std::int64_t columns, void* out, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool wide = is_wide(columns, {gate.data, up.data, out}, {gate.stride, up.stride});
  const std::int64_t each = wide ? 2048 : 256;
  const dim3 grid(static_cast<unsigned>((columns + each - 1) / each), static_cast<unsigned>(rows));
  with_operand_type(dtype, [&]<typename T>(T) {
    if (wide) {
      launch_beside(silu_mul<T, 8>, grid, 256, 0, on, gate, up, columns, static_cast<T*>(out));
    } else {
      launch_beside(silu_mul<T, 1>, grid, 256, 0, on, gate, up, columns, static_cast<T*>(out));
    }
  });
}

void launch_relu(DType dtype, void* x, std::int64_t count, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool wide = is_wide(count, {x}, {});
  const std::int64_t each = wide ? 2048 : 256;
  const auto blocks = static_cast<unsigned>((count + each - 1) / each);
  with_operand_type(dtype, [&]<typename T>(T) {
    if (wide) {
      launch_beside(relu<T, 8>, blocks, 256, 0, on, static_cast<T*>(x), count);
    } else {
      launch_beside(relu<T, 1>, blocks, 256, 0, on, static_cast<T*>(x), count);
    }
  });
}

void launch_gather_rows(const void* from, const std::int32_t* picked, std::int64_t count,
                        std::int64_t row_bytes, void* out, void* stream) noexcept {
  launch_beside(gather_rows, static_cast<unsigned>(count), 256, 0,
                static_cast<cudaStream_t>(stream), static_cast<const std::uint16_t*>(from), picked,
                row_bytes / 2, static_cast<std::uint16_t*>(out));
}

void launch_best_of_rows(DType dtype, const void* values, std::int64_t rows, std::int64_t columns,
                         BestValue* out, void* stream) noexcept {
  with_operand_type(dtype, [&]<typename T>(T) {
    launch_beside(best_of_rows<T>, dim3(static_cast<unsigned>(rows), kBestParts), 256, 0,
                  static_cast<cudaStream_t>(stream), static_cast<const T*>(values), columns, out);
  });
}

}  // namespace torchao_cpp::cuda
