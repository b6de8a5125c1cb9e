// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

/// Instructions of compute capability 9.0a for products whose right operand lies in shared memory:
/// barriers of shared memory, copies in bulk, clusters and wgmma.
namespace torchao_cpp::cuda {
namespace {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

__device__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ void init_barrier(unsigned barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

/// What init_barrier() wrote is there for the copies and the other blocks of the cluster.
__device__ void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/// Arrives and says how many bytes copies will bring.
__device__ void expect_bytes(unsigned barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

__device__ void wait_barrier(unsigned barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra finished;\n"
      "bra again;\n"
      "finished:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

/// Arrives at the barrier at the same place of block `rank` of the cluster. Nothing was written
/// that others would have to see.
__device__ void arrive_at(unsigned barrier, unsigned rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

__device__ void copy_bulk(unsigned to, const void* from, unsigned bytes, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

/// To the same place of all blocks of the cluster that `mask` names, each with its own barrier.
__device__ void copy_bulk_to(unsigned mask, unsigned to, const void* from, unsigned bytes,
                             unsigned barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1], %2, [%3], %4;" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier), "h"(static_cast<std::uint16_t>(mask))
      : "memory");
}

/// Orders what this thread saw written by ordinary stores before the copies that it starts.
__device__ void fence_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

__device__ unsigned cluster_rank() {
  unsigned rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/// All threads of the cluster that have not ended.
__device__ void sync_cluster() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

/// No block of the cluster goes on before what the others read of its memory is read.
__device__ void leave_cluster() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.aligned;" ::
                   : "memory");
}

/// `threads` of the block, which alone use barrier `id`.
__device__ void sync_some(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ float4 load_from(unsigned address, unsigned rank) {
  float4 v;
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [remote];\n"
      "}"
      : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
      : "r"(address), "r"(rank)
      : "memory");
  return v;
}

template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

__device__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kGroups>
__device__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroups) : "memory");
}

/// A right operand in shared memory: rows of 128 bytes, 16-byte pieces p of row r at p ^ (r % 8),
/// at a multiple of 1024 bytes; plus 2 for each 16 columns further.
__device__ std::uint64_t swizzled_operand(unsigned address) {
  constexpr std::uint64_t kEightRows = 1024 >> 4;
  return ((address & 0x3ffff) >> 4) | std::uint64_t{1} << 16 | kEightRows << 32 |
         std::uint64_t{1} << 62;
}

// The sums' registers, by eights.
#define TORCHAO_CPP_8(c, i)                                                                   \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define TORCHAO_CPP_16(c, i) TORCHAO_CPP_8(c, i), TORCHAO_CPP_8(c, i + 8)
#define TORCHAO_CPP_32(c, i) TORCHAO_CPP_16(c, i), TORCHAO_CPP_16(c, i + 16)
#define TORCHAO_CPP_64(c, i) TORCHAO_CPP_32(c, i), TORCHAO_CPP_32(c, i + 32)

#define TORCHAO_CPP_128(c, i) TORCHAO_CPP_64(c, i), TORCHAO_CPP_64(c, i + 64)

#define TORCHAO_CPP_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define TORCHAO_CPP_NAMES_32 \
  TORCHAO_CPP_NAMES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define TORCHAO_CPP_NAMES_64                                                         \
  TORCHAO_CPP_NAMES_32                                                               \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define TORCHAO_CPP_NAMES_128                                                                    \
  TORCHAO_CPP_NAMES_64                                                                           \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"

#define TORCHAO_CPP_WGMMA(n, type, names, sums, a0, a1, a2, a3, b, keep)                  \
  asm volatile("{\n.reg .pred keep;\nsetp.ne.b32 keep, %" #keep                           \
               ", 0;\n"                                                                   \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" names \
               "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b ", keep, 1, 1, 0;\n}"  \
               : sums                                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(right), "r"(keeps))

/// c (`keeps`: c +) = a * right of 64 rows, 16 columns and 2 * kSums rows of the right operand.
template <bool kIsBFloat16, int kSums>
__device__ void wgmma(float (&c)[kSums], const unsigned (&a)[4], std::uint64_t right, int keeps) {
  static_assert(kSums == 16 || kSums == 32 || kSums == 64 || kSums == 128);
  if constexpr (kIsBFloat16 && kSums == 128) {
    TORCHAO_CPP_WGMMA(256, "bf16", TORCHAO_CPP_NAMES_128, TORCHAO_CPP_128(c, 0), 128, 129, 130, 131,
                      132, 133);
  } else if constexpr (kIsBFloat16 && kSums == 64) {
    TORCHAO_CPP_WGMMA(128, "bf16", TORCHAO_CPP_NAMES_64, TORCHAO_CPP_64(c, 0), 64, 65, 66, 67, 68,
                      69);
  } else if constexpr (kIsBFloat16 && kSums == 32) {
    TORCHAO_CPP_WGMMA(64, "bf16", TORCHAO_CPP_NAMES_32, TORCHAO_CPP_32(c, 0), 32, 33, 34, 35, 36,
                      37);
  } else if constexpr (kIsBFloat16) {
    TORCHAO_CPP_WGMMA(32, "bf16", TORCHAO_CPP_NAMES_16, TORCHAO_CPP_16(c, 0), 16, 17, 18, 19, 20,
                      21);
  } else if constexpr (kSums == 128) {
    TORCHAO_CPP_WGMMA(256, "f16", TORCHAO_CPP_NAMES_128, TORCHAO_CPP_128(c, 0), 128, 129, 130, 131,
                      132, 133);
  } else if constexpr (kSums == 64) {
    TORCHAO_CPP_WGMMA(128, "f16", TORCHAO_CPP_NAMES_64, TORCHAO_CPP_64(c, 0), 64, 65, 66, 67, 68,
                      69);
  } else if constexpr (kSums == 32) {
    TORCHAO_CPP_WGMMA(64, "f16", TORCHAO_CPP_NAMES_32, TORCHAO_CPP_32(c, 0), 32, 33, 34, 35, 36,
                      37);
  } else {
    TORCHAO_CPP_WGMMA(32, "f16", TORCHAO_CPP_NAMES_16, TORCHAO_CPP_16(c, 0), 16, 17, 18, 19, 20,
                      21);
  }
}

#undef TORCHAO_CPP_WGMMA
#undef TORCHAO_CPP_NAMES_128
#undef TORCHAO_CPP_NAMES_64
#undef TORCHAO_CPP_NAMES_32
#undef TORCHAO_CPP_NAMES_16
#undef TORCHAO_CPP_128
#undef TORCHAO_CPP_64
#undef TORCHAO_CPP_32
#undef TORCHAO_CPP_16
#undef TORCHAO_CPP_8

#endif

}  // namespace
}  // namespace torchao_cpp::cuda
