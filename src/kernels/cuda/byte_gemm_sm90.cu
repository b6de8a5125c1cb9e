// SPDX-License-Identifier: Apache-2.0
#include <cuda.h>

#include <algorithm>
#include <type_traits>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/byte_products.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rounding.cuh"

/// Many rows of x times a weight, both codes of one byte, on the matrix units of compute capability
/// 9.0 (wgmma), whose sums become y without a way through memory.
///
/// One warp of a block has tiles of x and of the weight copied to a ring of stages in shared
/// memory, 128 columns at a time. Groups of four warps multiply 64 rows of x each by all outputs of
/// the tile. Blocks stay for several tiles, so that the next one's stages fill while one is stored.
namespace torchao_cpp::cuda {
namespace {

constexpr int kColumns = 128;   ///< Of a stage: as many bytes as a row of the swizzled layout has.
constexpr int kGroupRows = 64;  ///< Of x that a group of warps takes.
constexpr int kUnitOutputs = 128;
constexpr int kGroupThreads = 128;
constexpr int kSwizzleBytes = 1024;
constexpr int kSharedBytes = 200 << 10;

/// kGroups times 64 rows of x by kWide times 128 outputs.
template <int kGroups, int kWide>
struct Tile {
  static constexpr int kRows = kGroups * kGroupRows;
  static constexpr int kOutputs = kWide * kUnitOutputs;
  static constexpr int kXBytes = kRows * kColumns;
  static constexpr int kWeightBytes = kOutputs * kColumns;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;
  static constexpr int kStages = kSharedBytes / kStageBytes;
  static constexpr int kBytes = kStages * kStageBytes + kSwizzleBytes;
  static constexpr int kThreads = (kGroups + 1) * kGroupThreads;
};

struct Sizes {
  std::int64_t rows;
  std::int64_t outputs;
  int segments;  ///< Of kColumns.
  int row_tiles;
  int tiles;
};

#if __CUDA_ARCH_FEAT_SM90_ALL

constexpr int kUnitColumns = 32;  ///< Of one wgmma.

__device__ void init_barrier(unsigned barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count));
}
__device__ void expect_bytes(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ void arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ void wait_for(unsigned barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra end;\n"
      "bra again;\n"
      "end:\n"
      "}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}
__device__ void copy_tile(unsigned to, const CUtensorMap& map, int column, int row,
                          unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(&map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

__device__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kLeft>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}

/// Rows of 128 bytes, eight of them swizzled together.
__device__ std::uint64_t descriptor_of(unsigned address) {
  constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
  constexpr std::uint64_t kEightRows = std::uint64_t{kSwizzleBytes / 16} << 32;
  return kSwizzle128 | kEightRows | (std::uint64_t{1} << 16) | (address & 0x3ffff) >> 4;
}

struct Int8Units {
  using Sum = int;
  static __device__ void multiply(int (&d)[64], std::uint64_t x, std::uint64_t w) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1;"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]),
          "+r"(d[7]), "+r"(d[8]), "+r"(d[9]), "+r"(d[10]), "+r"(d[11]), "+r"(d[12]), "+r"(d[13]),
          "+r"(d[14]), "+r"(d[15]), "+r"(d[16]), "+r"(d[17]), "+r"(d[18]), "+r"(d[19]), "+r"(d[20]),
          "+r"(d[21]), "+r"(d[22]), "+r"(d[23]), "+r"(d[24]), "+r"(d[25]), "+r"(d[26]), "+r"(d[27]),
          "+r"(d[28]), "+r"(d[29]), "+r"(d[30]), "+r"(d[31]), "+r"(d[32]), "+r"(d[33]), "+r"(d[34]),
          "+r"(d[35]), "+r"(d[36]), "+r"(d[37]), "+r"(d[38]), "+r"(d[39]), "+r"(d[40]), "+r"(d[41]),
          "+r"(d[42]), "+r"(d[43]), "+r"(d[44]), "+r"(d[45]), "+r"(d[46]), "+r"(d[47]), "+r"(d[48]),
          "+r"(d[49]), "+r"(d[50]), "+r"(d[51]), "+r"(d[52]), "+r"(d[53]), "+r"(d[54]), "+r"(d[55]),
          "+r"(d[56]), "+r"(d[57]), "+r"(d[58]), "+r"(d[59]), "+r"(d[60]), "+r"(d[61]), "+r"(d[62]),
          "+r"(d[63])
        : "l"(x), "l"(w));
  }
};

struct Float8Units {
  using Sum = float;
  static __device__ void multiply(float (&d)[64], std::uint64_t x, std::uint64_t w) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
        "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]),
          "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]),
          "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]),
          "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]),
          "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]),
          "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]),
          "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
          "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
          "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
          "+f"(d[63])
        : "l"(x), "l"(w));
  }
};

/// Sums to values of y, for epilogues without zero points whose dtypes are all T.
template <typename T>
struct Finish {
  const Epilogue& e;
  const EpilogueArgs& args;
  bool in_pairs;  ///< Two values of y may be stored as one word.

  __device__ static float rounded(float v) { return to_float(from_float<T>(v)); }

  __device__ float value(float v, float row_scale, float column_scale, std::int64_t n) const {
    if (e.rounds_sum) v = rounded(v);
    v *= row_scale;
    if (e.rounds_scaled) v = rounded(v);
    v *= column_scale;
    if (args.bias == nullptr) return v;
    if (e.rounds_before_bias) v = rounded(v);
    return v + to_float(static_cast<const T*>(args.bias)[n]);
  }

  template <typename Sum>
  __device__ void store(const Sum (&sums)[64], int half, std::int64_t m, std::int64_t first_n,
                        std::int64_t outputs) const {
    const float row_scale = args.row_scale != nullptr ? args.row_scale[m] : 1.0f;
    T* to = static_cast<T*>(args.y) + m * args.y_stride;
#pragma unroll
    for (int j = 0; j < kUnitOutputs / 8; ++j) {
      const std::int64_t n = first_n + 8 * j + threadIdx.x % 4 * 2;
      if (n >= outputs) break;
      const float2 scale = e.column_scale != nullptr
                               ? *reinterpret_cast<const float2*>(e.column_scale + n)
                               : make_float2(1.0f, 1.0f);
      struct alignas(2 * sizeof(T)) {
        T x, y;
      } pair;
      pair.x =
          from_float<T>(value(static_cast<float>(sums[4 * j + 2 * half]), row_scale, scale.x, n));
      pair.y = from_float<T>(
          value(static_cast<float>(sums[4 * j + 2 * half + 1]), row_scale, scale.y, n + 1));
      if (in_pairs) {
        *reinterpret_cast<decltype(pair)*>(to + n) = pair;
      } else {
        to[n] = pair.x;
        to[n + 1] = pair.y;
      }
    }
  }
};

/// A ring of stages and its barriers in shared memory.
template <typename Own>
struct Ring {
  unsigned memory;  ///< At a multiple of kSwizzleBytes.
  unsigned barriers;
  int slot = 0;
  int parity = 0;

  __device__ unsigned x() const { return memory + slot * Own::kStageBytes; }
  __device__ unsigned weight() const { return x() + Own::kXBytes; }
  __device__ unsigned full() const { return barriers + 8 * slot; }
  __device__ unsigned empty(int of) const { return barriers + 8 * (Own::kStages + of); }
  __device__ void advance() {
    if (++slot < Own::kStages) return;
    slot = 0;
    parity ^= 1;
  }
};

// One thread. The weight's first stages are on their way before earlier kernels are done.
template <typename Own>
__device__ void fill(Ring<Own> ring, const CUtensorMap& x_map, const CUtensorMap& w_map,
                     const Sizes& sizes) {
  const auto copy_weight = [&](int tile, int segment) {
    expect_bytes(ring.full(), Own::kStageBytes);
    copy_tile(ring.weight(), w_map, segment * kColumns, tile / sizes.row_tiles * Own::kOutputs,
              ring.full());
  };
  const auto copy_x = [&](int tile, int segment) {
    copy_tile(ring.x(), x_map, segment * kColumns, tile % sizes.row_tiles * Own::kRows,
              ring.full());
  };
  const int first = min(Own::kStages, sizes.segments);
  const Ring<Own> begin = ring;
  for (int i = 0; i < first; ++i, ring.advance()) copy_weight(blockIdx.x, i);
  wait_for_previous();
  ring = begin;
  for (int i = 0; i < first; ++i, ring.advance()) copy_x(blockIdx.x, i);
  for (int tile = blockIdx.x; tile < sizes.tiles; tile += gridDim.x) {
    for (int i = tile == blockIdx.x ? first : 0; i < sizes.segments; ++i, ring.advance()) {
      wait_for(ring.empty(ring.slot), ring.parity ^ 1);
      copy_weight(tile, i);
      copy_x(tile, i);
    }
  }
}

template <typename Units, int kWide, typename Own>
__device__ void multiply_tile(Ring<Own>& ring, int segments,
                              typename Units::Sum (&sums)[kWide][64]) {
  const int group = threadIdx.x / kGroupThreads;
#pragma unroll 1
  for (int i = 0; i < segments; ++i) {
    wait_for(ring.full(), ring.parity);
    const std::uint64_t x = descriptor_of(ring.x() + group * kGroupRows * kColumns);
    const std::uint64_t w = descriptor_of(ring.weight());
    begin_products();
#pragma unroll
    for (int k = 0; k < kColumns / kUnitColumns; ++k) {
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        Units::multiply(sums[j], x + k * kUnitColumns / 16,
                        w + (j * kUnitOutputs * kColumns + k * kUnitColumns) / 16);
      }
    }
    end_products();
    wait_for_products<1>();
    // The stage before has been read.
    if (i > 0 && threadIdx.x % kGroupThreads == 0)
      arrive(ring.empty(ring.slot == 0 ? Own::kStages - 1 : ring.slot - 1));
    ring.advance();
  }
  wait_for_products<0>();
  if (threadIdx.x % kGroupThreads == 0)
    arrive(ring.empty(ring.slot == 0 ? Own::kStages - 1 : ring.slot - 1));
}

template <typename Units, typename T, int kGroups, int kWide>
__device__ void run(const CUtensorMap& x_map, const CUtensorMap& w_map, const Sizes& sizes,
                    const Finish<T>& finish) {
  using Own = Tile<kGroups, kWide>;
  extern __shared__ std::uint8_t memory[];
  __shared__ std::uint64_t barriers[2 * Own::kStages];
  const unsigned aligned =
      (shared_address(memory) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes;
  Ring<Own> ring{aligned, shared_address(barriers)};
  if (threadIdx.x == 0) {
    for (int i = 0; i < Own::kStages; ++i) {
      init_barrier(ring.barriers + 8 * i, 1);
      init_barrier(ring.empty(i), kGroups);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  let_next_start();
  const int group = threadIdx.x / kGroupThreads;
  if (group == kGroups) {
    if (threadIdx.x == kGroups * kGroupThreads) fill(ring, x_map, w_map, sizes);
    return;
  }
  wait_for_previous();  // Before y is written and the scales of x are read.
  for (int tile = blockIdx.x; tile < sizes.tiles; tile += gridDim.x) {
    typename Units::Sum sums[kWide][64] = {};
    multiply_tile<Units, kWide>(ring, sizes.segments, sums);
    const int thread = threadIdx.x % kGroupThreads;
    const std::int64_t m = tile % sizes.row_tiles * Own::kRows + group * kGroupRows +
                           thread / 32 * 16 + thread % 32 / 4;
    const std::int64_t n = static_cast<std::int64_t>(tile / sizes.row_tiles) * Own::kOutputs;
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (m + 8 * half < sizes.rows)
          finish.store(sums[j], half, m + 8 * half, n + j * kUnitOutputs, sizes.outputs);
      }
    }
  }
}

#endif

template <bool kIsInt8, typename T, int kGroups, int kWide>
__global__ void __launch_bounds__((Tile<kGroups, kWide>::kThreads), 1)
    byte_gemm(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
              Sizes sizes, Epilogue epilogue, EpilogueArgs args, bool in_pairs) {
#if __CUDA_ARCH_FEAT_SM90_ALL
  using Units = std::conditional_t<kIsInt8, Int8Units, Float8Units>;
  run<Units, T, kGroups, kWide>(x_map, w_map, sizes, Finish<T>{epilogue, args, in_pairs});
#endif
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Null where the driver has none.
EncodeTiled encode_tiled() {
  static const EncodeTiled kFunction = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &result);
    if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) {
      cudaGetLastError();
      function = nullptr;
    }
    return reinterpret_cast<EncodeTiled>(function);
  }();
  return kFunction;
}

// Rows of bytes, of which a copy takes kColumns of `tile_rows` rows; zeros where there are none.
bool describe(const void* data, std::int64_t rows, std::int64_t row_bytes, int tile_rows,
              CUtensorMap& map) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(row_bytes), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[2] = {kColumns, static_cast<cuuint32_t>(tile_rows)};
  const cuuint32_t steps[2] = {1, 1};
  return encode_tiled()(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(data), sizes,
                        strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

struct Call {
  const WeightView& weight;
  const OperandView& x;
  const Epilogue& epilogue;
  const EpilogueArgs& args;
  int processors;
  cudaStream_t stream;
};

template <bool kIsInt8, typename T, int kGroups, int kWide>
bool launch(const Call& call) {
  using Own = Tile<kGroups, kWide>;
  CUtensorMap x_map;
  CUtensorMap w_map;
  if (!describe(call.x.data, call.x.rows, call.x.stride, Own::kRows, x_map) ||
      !describe(call.weight.codes, call.weight.n, call.weight.row_bytes, Own::kOutputs, w_map))
    return false;
  const auto count = [](std::int64_t size, std::int64_t each) {
    return static_cast<int>((size + each - 1) / each);
  };
  const int row_tiles = count(call.x.rows, Own::kRows);
  const Sizes sizes{call.x.rows, call.weight.n, count(call.x.stride, kColumns), row_tiles,
                    row_tiles * count(call.weight.n, Own::kOutputs)};
  const bool in_pairs = call.args.y_stride % 2 == 0 &&
                        reinterpret_cast<std::uintptr_t>(call.args.y) % (2 * sizeof(T)) == 0;
  const auto kernel = byte_gemm<kIsInt8, T, kGroups, kWide>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Own::kBytes);
  launch_early(kernel, static_cast<unsigned>(std::min(sizes.tiles, call.processors)), Own::kThreads,
               Own::kBytes, call.stream, x_map, w_map, sizes, call.epilogue, call.args, in_pairs);
  return true;
}

// The largest tile that leaves no processor without one.
template <bool kIsInt8, typename T>
bool launch_for(const Call& call) {
  const std::int64_t row_tiles = (call.x.rows + 127) / 128;
  if (call.x.rows <= kGroupRows) return launch<kIsInt8, T, 1, 1>(call);
  if (row_tiles * (call.weight.n / 256) < call.processors) return launch<kIsInt8, T, 2, 1>(call);
  return launch<kIsInt8, T, 2, 2>(call);
}

}  // namespace

bool byte_gemm_supports(const Epilogue& epilogue, std::int64_t outputs, int capability) noexcept {
  return capability == 90 && encode_tiled() != nullptr && !epilogue.has_code_zero &&
         epilogue.compute == epilogue.output && epilogue.output != ValueRounding::kNone &&
         outputs % 8 == 0;
}

bool launch_byte_gemm(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                      const EpilogueArgs& args, int processors, void* stream) noexcept {
  const Call call{weight, x, epilogue, args, processors, static_cast<cudaStream_t>(stream)};
  const auto with_type = [&]<typename T>(T) {
    return x.dtype == DType::kInt8 ? launch_for<true, T>(call) : launch_for<false, T>(call);
  };
  return epilogue.output == ValueRounding::kBFloat16 ? with_type(__nv_bfloat16{})
                                                     : with_type(__half{});
}

}  // namespace torchao_cpp::cuda
