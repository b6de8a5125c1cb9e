// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/epilogue.h"
#include "torchao_cpp/dtype.h"

/// float32 from and to the dtypes of activations, on the device; rounding as core/float_formats.h.
namespace torchao_cpp::cuda {

__device__ inline float to_float(float v) { return v; }
__device__ inline float to_float(__half v) { return __half2float(v); }
__device__ inline float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }

template <typename T>
__device__ inline T from_float(float v);
template <>
__device__ inline float from_float<float>(float v) {
  return v;
}
template <>
__device__ inline __half from_float<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

__device__ inline float round_value(ValueRounding rounding, float v) {
  if (rounding == ValueRounding::kBFloat16) return __bfloat162float(__float2bfloat16_rn(v));
  if (rounding == ValueRounding::kFloat16) return __half2float(__float2half_rn(v));
  return v;
}

/// Element i of a float32, float16 or bfloat16 array.
__device__ inline float load_value(ValueRounding dtype, const void* data, std::int64_t i) {
  if (dtype == ValueRounding::kBFloat16)
    return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
  if (dtype == ValueRounding::kFloat16) return __half2float(static_cast<const __half*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

__device__ inline void store_value(ValueRounding dtype, void* data, std::int64_t i, float v) {
  if (dtype == ValueRounding::kBFloat16) {
    static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(v);
  } else if (dtype == ValueRounding::kFloat16) {
    static_cast<__half*>(data)[i] = __float2half_rn(v);
  } else {
    static_cast<float*>(data)[i] = v;
  }
}

/// Eight values of T at a multiple of eight.
template <typename T>
__device__ inline void load8(const T* from, float (&out)[8]) {
  if constexpr (sizeof(T) == 4) {
    const float4 a = reinterpret_cast<const float4*>(from)[0];
    const float4 b = reinterpret_cast<const float4*>(from)[1];
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
    out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  } else {
    const uint4 words = *reinterpret_cast<const uint4*>(from);
    const T* values = reinterpret_cast<const T*>(&words);
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = to_float(values[i]);
  }
}

template <typename T>
__device__ inline void store8(T* to, const float (&values)[8]) {
  if constexpr (sizeof(T) == 4) {
    reinterpret_cast<float4*>(to)[0] = make_float4(values[0], values[1], values[2], values[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(values[4], values[5], values[6], values[7]);
  } else {
    uint4 words;
    T* out = reinterpret_cast<T*>(&words);
#pragma unroll
    for (int i = 0; i < 8; ++i) out[i] = from_float<T>(values[i]);
    *reinterpret_cast<uint4*>(to) = words;
  }
}

/// Calls fn(T{}) with the type of an operand.
template <typename F>
void with_operand_type(DType dtype, const F& fn) {
  if (dtype == DType::kBFloat16) {
    fn(__nv_bfloat16{});
  } else if (dtype == DType::kFloat16) {
    fn(__half{});
  } else {
    fn(float{});
  }
}

}  // namespace torchao_cpp::cuda
