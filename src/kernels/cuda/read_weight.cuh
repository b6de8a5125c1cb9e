// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/device_weight.h"
#include "kernels/cuda/rounding.cuh"

namespace torchao_cpp::cuda {

/// The tables of a WeightView in shared memory. Every thread of the block calls load().
template <int kBits>
struct WeightTables {
  static constexpr int kCodes = kBits > 8 ? 1 : 1 << kBits;
  float code_values[kCodes];
  float byte_scales[256];

  __device__ void load(const WeightView& w) {
    for (int i = threadIdx.x; i < kCodes && w.code_values != nullptr; i += blockDim.x)
      code_values[i] = w.code_values[i];
    for (int i = threadIdx.x; i < 256 && w.has_byte_scales; i += blockDim.x)
      byte_scales[i] = w.byte_scales[i];
    __syncthreads();
  }
};

/// Codes of columns 8 * unit .. 8 * unit + 8 of a row, in the low bits of 64.
template <int kBits>
__device__ inline std::uint64_t read_codes8(const std::uint8_t* row, std::int64_t unit) {
  static_assert(kBits <= 8);
  const std::uint8_t* at = row + unit * kBits;
  if constexpr (kBits == 8) {
    return *reinterpret_cast<const std::uint64_t*>(at);
  } else if constexpr (kBits == 4) {
    return *reinterpret_cast<const std::uint32_t*>(at);
  } else {
    std::uint64_t codes = 0;
    if constexpr (kBits % 2 == 0) {
#pragma unroll
      for (int i = 0; i < kBits / 2; ++i) {
        codes |= static_cast<std::uint64_t>(reinterpret_cast<const std::uint16_t*>(at)[i])
                 << (16 * i);
      }
    } else {
#pragma unroll
      for (int i = 0; i < kBits; ++i) codes |= static_cast<std::uint64_t>(at[i]) << (8 * i);
    }
    return codes;
  }
}

__device__ inline void round8(ValueRounding rounding, float (&v)[8]) {
  if (rounding == ValueRounding::kBFloat16) {
#pragma unroll
    for (float& value : v) value = __bfloat162float(__float2bfloat16_rn(value));
  } else if (rounding == ValueRounding::kFloat16) {
#pragma unroll
    for (float& value : v) value = __half2float(__float2half_rn(value));
  }
}

template <int kBits>
__device__ inline float block_scale(const WeightView& w, const WeightTables<kBits>& tables,
                                    std::int64_t block) {
  return w.has_byte_scales ? tables.byte_scales[static_cast<const std::uint8_t*>(w.scale)[block]]
                           : load_value(w.scale_dtype, w.scale, block);
}

__device__ inline float block_zero(const WeightView& w, std::int64_t block) {
  return w.has_byte_zero ? static_cast<float>(static_cast<const std::int8_t*>(w.zero)[block])
                         : load_value(w.zero_dtype, w.zero, block);
}

/// Values of codes scaled, each step rounded as FloatLinear rounds it. Steps are loops of their
/// own: with every choice inside one loop the compiler takes minutes.
__device__ inline void scale_codes8(const WeightView& w, const float (&scale)[8], float (&zero)[8],
                                    float (&v)[8]) {
  if (w.zero_kind == ZeroPointDomain::kInt) {
    round8(w.rounding, zero);
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] -= zero[i];
    round8(w.rounding, v);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) v[i] *= scale[i];
  if (w.zero_kind == ZeroPointDomain::kFloat) {
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] += zero[i];
  }
  round8(w.rounding, v);
}

/// Scales and zero points of columns begin .. begin + 8 of a row.
template <int kBits>
__device__ inline void read_scales8(const WeightView& w, const WeightTables<kBits>& tables,
                                    std::int64_t n, unsigned begin, float (&scale)[8],
                                    float (&zero)[8]) {
  const std::int64_t first_block = n / w.block_rows * w.blocks_per_row;
  const auto columns = static_cast<unsigned>(w.block_columns);
  const bool has_zero = w.zero_kind != ZeroPointDomain::kNone;
  if (columns % 8 == 0) {
    const std::int64_t block = first_block + begin / columns;
    const float s = block_scale(w, tables, block);
    const float z = has_zero ? block_zero(w, block) : 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) scale[i] = s, zero[i] = z;
  } else {
    const auto last = static_cast<unsigned>(w.k - 1);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const std::int64_t block = first_block + min(begin + i, last) / columns;
      scale[i] = block_scale(w, tables, block);
      zero[i] = has_zero ? block_zero(w, block) : 0.0f;
    }
  }
}

template <typename T>
__device__ inline T hidden(T value) {
  int v = static_cast<int>(value);
  asm volatile("" : "+r"(v));
  return static_cast<T>(v);
}

/// The same view, of whose choices the compiler does not know that they are the same in every round
/// of a loop: it would make a loop for every combination of them, which takes it many minutes.
__device__ inline WeightView with_hidden_choices(const WeightView& w) {
  WeightView out = w;
  out.is_scaled = hidden(w.is_scaled);
  out.zero_kind = hidden(w.zero_kind);
  out.rounding = hidden(w.rounding);
  out.scale_dtype = hidden(w.scale_dtype);
  out.has_byte_scales = hidden(w.has_byte_scales);
  out.has_byte_zero = hidden(w.has_byte_zero);
  out.zero_dtype = hidden(w.zero_dtype);
  out.block_columns = hidden(w.block_columns);
  return out;
}

/// Right operand: weight row n, columns 8 * unit .. 8 * unit + 8; zeros from column K on.
template <int kBits>
__device__ inline void read_weight8(const WeightView& view, const WeightTables<kBits>& tables,
                                    std::int64_t n, std::int64_t unit, float (&out)[8]) {
  const WeightView w = with_hidden_choices(view);
  const std::uint8_t* row = w.codes + n * w.row_bytes;
  if constexpr (kBits == 32) {
    load8(reinterpret_cast<const float*>(row) + 8 * unit, out);
  } else if constexpr (kBits == 16) {
    if (w.rounding == ValueRounding::kBFloat16) {
      load8(reinterpret_cast<const __nv_bfloat16*>(row) + 8 * unit, out);
    } else {
      load8(reinterpret_cast<const __half*>(row) + 8 * unit, out);
    }
  } else {
    const std::uint64_t codes = read_codes8<kBits>(row, unit);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      out[i] = tables.code_values[(codes >> (kBits * i)) & ((1U << kBits) - 1)];
    if (w.is_scaled) {
      float scale[8];
      float zero[8];
      read_scales8(w, tables, n, static_cast<unsigned>(8 * unit), scale, zero);
      scale_codes8(w, scale, zero, out);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = 8 * unit + i < w.k ? out[i] : 0.0f;
  }
}

/// Calls fn(std::integral_constant<int, bits>).
template <typename F>
void with_bits(int bits, const F& fn) {
  switch (bits) {
    case 1:
      return fn(std::integral_constant<int, 1>{});
    case 2:
      return fn(std::integral_constant<int, 2>{});
    case 3:
      return fn(std::integral_constant<int, 3>{});
    case 4:
      return fn(std::integral_constant<int, 4>{});
    case 5:
      return fn(std::integral_constant<int, 5>{});
    case 6:
      return fn(std::integral_constant<int, 6>{});
    case 7:
      return fn(std::integral_constant<int, 7>{});
    case 8:
      return fn(std::integral_constant<int, 8>{});
    case 16:
      return fn(std::integral_constant<int, 16>{});
    default:
      return fn(std::integral_constant<int, 32>{});
  }
}

}  // namespace torchao_cpp::cuda
