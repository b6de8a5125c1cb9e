// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/int4_tiles.h"
#include "kernels/cuda/rounding.cuh"

#if __CUDA_ARCH__ < 800
#pragma nv_diag_suppress 177  // What those architectures have no use for.
#endif

/// Words of the tiles of int4_tiles.h and their scales, for the files that take them apart.
namespace torchao_cpp::cuda {
namespace {

/// Two values of T in 32 bits, and what makes a code of them: `kMagic | code` is kOffset plus the
/// code.
template <typename T>
struct Pair;
template <>
struct Pair<__nv_bfloat16> {
  using Type = __nv_bfloat162;
  static constexpr unsigned kMagic = 0x43004300u;  // 128
  static constexpr float kOffset = 136.0f;         // Codes are stored plus 8.
  static __device__ Type twice(__nv_bfloat16 v) { return __bfloat162bfloat162(v); }
  static __device__ Type of(float v) { return __float2bfloat162_rn(v); }
};
template <>
struct Pair<__half> {
  using Type = __half2;
  static constexpr unsigned kMagic = 0x64006400u;  // 1024
  static constexpr float kOffset = 1032.0f;
  static __device__ Type twice(__half v) { return __half2half2(v); }
  static __device__ Type of(float v) { return __float2half2_rn(v); }
};

template <typename Type>
__device__ unsigned bits_of(Type v) {
  return *reinterpret_cast<const unsigned*>(&v);
}
template <typename Type>
__device__ Type pair_of(unsigned bits) {
  return *reinterpret_cast<const Type*>(&bits);
}

/// Scales and zero points of rows g and g + 8 in one group.
struct Scales {
  unsigned scale;
  unsigned zero;
};

template <typename T, ZeroPointDomain kZero>
__device__ Scales read_scales(const Int4TilesView& w, std::int64_t tile, std::int64_t column,
                              int g) {
  const std::int64_t at = (tile * w.groups + (column >> w.group_shift)) * 8 + g;
  Scales out{__ldg(static_cast<const unsigned*>(w.scale) + at), 0};
  if constexpr (kZero != ZeroPointDomain::kNone)
    out.zero = __ldg(static_cast<const unsigned*>(w.zero) + at);
  return out;
}

// Once and from end to end: past the first-level cache, which holds x.
__device__ uint4 read_once(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

template <typename F>
void with_kinds(const Int4TilesView& w, const F& fn) {
  const auto with_zero = [&]<typename T>(T) {
    switch (w.zero_kind) {
      case ZeroPointDomain::kNone:
        return fn.template operator()<T, ZeroPointDomain::kNone>();
      case ZeroPointDomain::kInt:
        return fn.template operator()<T, ZeroPointDomain::kInt>();
      case ZeroPointDomain::kFloat:
        return fn.template operator()<T, ZeroPointDomain::kFloat>();
    }
  };
  if (w.dtype == DType::kBFloat16) {
    with_zero(__nv_bfloat16{});
  } else {
    with_zero(__half{});
  }
}

}  // namespace
}  // namespace torchao_cpp::cuda
