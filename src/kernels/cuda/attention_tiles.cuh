// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/attention.cuh"

#if __CUDA_ARCH__ < 800
#pragma nv_diag_suppress 177  // What those architectures have no use for.
#endif

/// What attention on matrix units is made of: instructions, and tiles of keys or values in shared
/// memory.
namespace torchao_cpp::cuda {
namespace {

constexpr int kKeys = kAttentionKeys;
/// Of tiles of keys in shared memory: their longest rows, so that bits of an address are those of a
/// place in a row.
constexpr int kTileAlignment = 256;

__device__ void load_matrices(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ void load_matrices_transposed(unsigned (&r)[4], unsigned address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ float power_of_two_of(float v) {
  float out;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(v));
  return out;
}

template <typename T>
struct Units;
template <>
struct Units<__nv_bfloat16> {
  static __device__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }
  static __device__ unsigned pair(float lo, float hi) {
    const __nv_bfloat162 v = __floats2bfloat162_rn(lo, hi);
    return *reinterpret_cast<const unsigned*>(&v);
  }
};
template <>
struct Units<__half> {
  static __device__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
  }
  static __device__ unsigned pair(float lo, float hi) {
    const __half2 v = __floats2half2_rn(lo, hi);
    return *reinterpret_cast<const unsigned*>(&v);
  }
};

/// kKeys rows of kDim values in shared memory: chunks of 16 bytes, the chunk's place in its row
/// xor'd with the row, so that eight rows of one column lie in different banks.
template <typename T, int kDim>
struct KeyTile {
  static constexpr int kChunks = kDim / 8;
  static constexpr int kBytes = kKeys * kDim * 2;

  static constexpr int kRowBytes = kDim * 2;

  static __device__ unsigned offset(int row, int chunk) {
    return static_cast<unsigned>(row * kRowBytes + (chunk ^ (row & 7)) * 16);
  }

  // Rows begin .. begin + kKeys of a head; rows from `end` on are zeros. Those of a thread are
  // multiples of eight apart, so that they have one place in their rows.
  static __device__ void copy(unsigned to, const T* from, int begin, int end) {
    constexpr int kStep = 128 / kChunks;
    static_assert(kStep % 8 == 0);
    const int row = threadIdx.x / kChunks;
    const int chunk = threadIdx.x % kChunks;
    to += offset(row, chunk);
    from += static_cast<std::int64_t>(begin + row) * kDim + chunk * 8;
    if (begin + kKeys <= end) {
#pragma unroll
      for (int i = 0; i < kKeys; i += kStep) copy_whole(to + i * kRowBytes, from + i * kDim);
      return;
    }
#pragma unroll
    for (int i = 0; i < kKeys; i += kStep) {
      const bool is_there = begin + row + i < end;
      copy_or_clear(to + i * kRowBytes, is_there ? from + i * kDim : from - row * kDim, is_there);
    }
  }
};

}  // namespace
}  // namespace torchao_cpp::cuda
