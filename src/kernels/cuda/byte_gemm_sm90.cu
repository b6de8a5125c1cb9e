// SPDX-License-Identifier: Apache-2.0
#include <cuda.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/byte_gemm_units.cuh"
#include "kernels/cuda/byte_products.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rounding.cuh"

/// Many rows of x times a weight, both codes of one byte, on the matrix units of compute capability
/// 9.0 (wgmma), whose sums become y without a way through memory.
///
/// One warp of a block has tiles of x and of the weight copied to a ring of stages in shared
/// memory, 128 columns at a time. Groups of four warps multiply 64 rows of x each by all outputs of
/// the tile. Blocks stay for several tiles, so that the next one's stages fill while one is stored.
/// Two blocks can be a cluster: each copies half of the weight's tile for both, since the
/// second-level cache could not feed each of them with all of it.
namespace torchao_cpp::cuda {
namespace {

constexpr int kColumns = 128;   ///< Of a stage: as many bytes as a row of the swizzled layout has.
constexpr int kGroupRows = 64;  ///< Of x that a group of warps takes.
constexpr int kUnitOutputs = 128;
constexpr int kGroupThreads = 128;
constexpr int kSharedBytes = 200 << 10;

/// kGroups times 64 rows of x by kWide times 128 outputs, one tile of a cluster of kBlocks, which
/// lie one below the other.
template <int kGroups, int kWide, int kBlocks>
struct Tile {
  static constexpr int kCluster = kBlocks;
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
  int segments;   ///< Of kColumns.
  int row_tiles;  ///< Of clusters.
  int tiles;
};

#if __CUDA_ARCH_FEAT_SM90_ALL

/// Sums to values of y, for epilogues without zero points whose dtypes are all T. Choices are the
/// same for all values and no branches, so that loads of scales do not wait for each other.
template <typename T>
struct Finish {
  static constexpr int kPairs = kUnitOutputs / 8;  ///< A thread's outputs of a row.

  const Epilogue& e;
  const EpilogueArgs& args;
  std::int64_t rows;
  std::int64_t outputs;
  bool in_pairs;  ///< Two values of y may be stored as one word.

  struct alignas(2 * sizeof(T)) Pair {
    T x, y;
  };

  __device__ static float rounded(float v, bool rounds) {
    return rounds ? to_float(from_float<T>(v)) : v;
  }

  __device__ float value(float v, float row_scale, float column_scale, float bias) const {
    v = rounded(rounded(v, e.rounds_sum) * row_scale, e.rounds_scaled) * column_scale;
    return args.bias == nullptr ? v : rounded(v, e.rounds_before_bias) + bias;
  }

  // Of a group of warps' sums, whose first row is m and whose first output is first_n.
  template <typename Sum>
  __device__ void store(const Sum (&sums)[64], std::int64_t m, std::int64_t first_n) const {
    first_n += threadIdx.x % 4 * 2;
    m += threadIdx.x % kGroupThreads / 32 * 16 + threadIdx.x % 32 / 4;
    float2 scale[kPairs];
    float2 bias[kPairs];
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const std::int64_t n = min(first_n + 8 * j, outputs - 2);
      scale[j] = e.column_scale != nullptr ? *reinterpret_cast<const float2*>(e.column_scale + n)
                                           : make_float2(1.0f, 1.0f);
      if (args.bias != nullptr) {
        const T* from = static_cast<const T*>(args.bias) + n;
        bias[j] = make_float2(to_float(from[0]), to_float(from[1]));
      } else {
        bias[j] = make_float2(0.0f, 0.0f);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half, m += 8) {
      if (m >= rows) return;
      const float row_scale = args.row_scale != nullptr ? args.row_scale[m] : 1.0f;
      T* to = static_cast<T*>(args.y) + m * args.y_stride + first_n;
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        Pair pair;
        pair.x = from_float<T>(
            value(static_cast<float>(sums[4 * j + 2 * half]), row_scale, scale[j].x, bias[j].x));
        pair.y = from_float<T>(value(static_cast<float>(sums[4 * j + 2 * half + 1]), row_scale,
                                     scale[j].y, bias[j].y));
        if (first_n + 8 * j < outputs) put(to + 8 * j, pair);
      }
    }
  }

  __device__ void put(T* to, const Pair& pair) const {
    if (in_pairs) {
      *reinterpret_cast<Pair*>(to) = pair;
    } else {
      to[0] = pair.x;
      to[1] = pair.y;
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
  // The stage before the present one has been read here; it may be written when every block of the
  // cluster has said so.
  __device__ void release_before() const {
    const int before = slot == 0 ? Own::kStages - 1 : slot - 1;
    const int block = threadIdx.x % kGroupThreads;
    if (block < Own::kCluster) arrive(empty(before), block);
  }
  __device__ void advance() {
    if (++slot < Own::kStages) return;
    slot = 0;
    parity ^= 1;
  }
};

// The tiles of a block of a cluster.
template <typename Own>
struct TileOrder {
  const Sizes& sizes;
  int block = block_of_cluster();

  __device__ static int begin() { return blockIdx.x / Own::kCluster; }
  __device__ static int step() { return gridDim.x / Own::kCluster; }
  __device__ int row(int tile) const {
    return (tile % sizes.row_tiles * Own::kCluster + block) * Own::kRows;
  }
  __device__ int output(int tile) const { return tile / sizes.row_tiles * Own::kOutputs; }
};

// One thread. The weight's first stages are on their way before earlier kernels are done.
template <typename Own>
__device__ void fill(Ring<Own> ring, const CUtensorMap& x_map, const CUtensorMap& w_map,
                     const Sizes& sizes) {
  const TileOrder<Own> order{sizes};
  const int share = order.block * (Own::kOutputs / Own::kCluster);
  const auto copy_weight = [&](int tile, int segment) {
    expect_bytes(ring.full(), Own::kStageBytes);
    copy_tile_to_all<Own::kCluster>(ring.weight() + share * kColumns, w_map, segment * kColumns,
                                    order.output(tile) + share, ring.full());
  };
  const auto copy_x = [&](int tile, int segment) {
    copy_tile(ring.x(), x_map, segment * kColumns, order.row(tile), ring.full());
  };
  const int first = min(Own::kStages, sizes.segments);
  const int first_tile = order.begin();
  const Ring<Own> begin = ring;
  for (int i = 0; i < first; ++i, ring.advance()) copy_weight(first_tile, i);
  wait_for_previous();
  ring = begin;
  for (int i = 0; i < first; ++i, ring.advance()) copy_x(first_tile, i);
  for (int tile = first_tile; tile < sizes.tiles; tile += order.step()) {
    for (int i = tile == first_tile ? first : 0; i < sizes.segments; ++i, ring.advance()) {
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
    if (i > 0) ring.release_before();
    ring.advance();
  }
  wait_for_products<0>();
  ring.release_before();
}

template <typename Units, typename T, typename Own, int kWide>
__device__ void multiply(Ring<Own> ring, const Sizes& sizes, const Finish<T>& finish) {
  const TileOrder<Own> order{sizes};
  const int group = threadIdx.x / kGroupThreads;
  wait_for_previous();  // Before y is written and the scales of x are read.
  for (int tile = order.begin(); tile < sizes.tiles; tile += order.step()) {
    typename Units::Sum sums[kWide][64] = {};
    multiply_tile<Units, kWide>(ring, sizes.segments, sums);
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      finish.store(sums[j], order.row(tile) + group * kGroupRows,
                   order.output(tile) + j * kUnitOutputs);
    }
  }
}

template <typename Units, typename T, int kGroups, int kWide, int kBlocks>
__device__ void run(const CUtensorMap& x_map, const CUtensorMap& w_map, const Sizes& sizes,
                    const Finish<T>& finish) {
  using Own = Tile<kGroups, kWide, kBlocks>;
  extern __shared__ std::uint8_t memory[];
  __shared__ std::uint64_t barriers[2 * Own::kStages];
  const unsigned aligned =
      (shared_address(memory) + kSwizzleBytes - 1) / kSwizzleBytes * kSwizzleBytes;
  const Ring<Own> ring{aligned, shared_address(barriers)};
  if (threadIdx.x == 0) {
    for (int i = 0; i < Own::kStages; ++i) {
      init_barrier(ring.barriers + 8 * i, 1);
      init_barrier(ring.empty(i), kBlocks * kGroups);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  wait_for_cluster();
  let_next_start();
  if (threadIdx.x < kGroups * kGroupThreads) {
    if constexpr (kGroups == 2) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    multiply<Units, T, Own, kWide>(ring, sizes, finish);
  } else {
    // What those who multiply take of the registers.
    if constexpr (kGroups == 2) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kGroups * kGroupThreads) fill(ring, x_map, w_map, sizes);
  }
  __syncwarp();
  wait_for_cluster();  // Others of the cluster still touch this block's barriers.
}

#endif

template <bool kIsInt8, typename T, int kGroups, int kWide, int kBlocks>
__global__ void __launch_bounds__((Tile<kGroups, kWide, kBlocks>::kThreads), 1)
    byte_gemm(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w_map,
              Sizes sizes, Epilogue epilogue, EpilogueArgs args, bool in_pairs) {
#if __CUDA_ARCH_FEAT_SM90_ALL
  using Units = std::conditional_t<kIsInt8, Int8Units, Float8Units>;
  run<Units, T, kGroups, kWide, kBlocks>(
      x_map, w_map, sizes, Finish<T>{epilogue, args, sizes.rows, sizes.outputs, in_pairs});
#endif
}

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// Null where the driver has none.
EncodeTiled encode_tiled() {
  static const EncodeTiled kFunction = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                               12000, cudaEnableDefault, &result);
#else
    const cudaError_t error =
        cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
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

// As launch_early(), of clusters.
template <typename Kernel, typename... Arguments>
void launch_clusters(Kernel kernel, int blocks, int threads, int bytes, int cluster,
                     cudaStream_t stream, const Arguments&... arguments) {
  std::array<cudaLaunchAttribute, 2> attributes{};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(cluster);
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(bytes);
  config.stream = stream;
  config.attrs = attributes.data();
  config.numAttrs = attributes.size();
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <bool kIsInt8, typename T, int kGroups, int kWide, int kBlocks>
bool launch(const Call& call) {
  using Own = Tile<kGroups, kWide, kBlocks>;
  CUtensorMap x_map;
  CUtensorMap w_map;
  if (!describe(call.x.data, call.x.rows, call.x.stride, Own::kRows, x_map) ||
      !describe(call.weight.codes, call.weight.n, call.weight.row_bytes,
                Own::kOutputs / Own::kCluster, w_map))
    return false;
  const auto count = [](std::int64_t size, std::int64_t each) {
    return static_cast<int>((size + each - 1) / each);
  };
  const int row_tiles = count(call.x.rows, Own::kRows * Own::kCluster);
  const Sizes sizes{call.x.rows, call.weight.n, count(call.x.stride, kColumns), row_tiles,
                    row_tiles * count(call.weight.n, Own::kOutputs)};
  const bool in_pairs = call.args.y_stride % 2 == 0 &&
                        reinterpret_cast<std::uintptr_t>(call.args.y) % (2 * sizeof(T)) == 0;
  launch_clusters(byte_gemm<kIsInt8, T, kGroups, kWide, kBlocks>,
                  std::min(sizes.tiles, call.processors / kBlocks) * kBlocks, Own::kThreads,
                  Own::kBytes, kBlocks, call.stream, x_map, w_map, sizes, call.epilogue, call.args,
                  in_pairs);
  return true;
}

// The largest tile that leaves no processor without one.
template <bool kIsInt8, typename T>
bool launch_for(const Call& call) {
  const std::int64_t row_tiles = (call.x.rows + 127) / 128;
  if (call.x.rows <= kGroupRows) return launch<kIsInt8, T, 1, 1, 1>(call);
  if (row_tiles * (call.weight.n / 256) < call.processors) return launch<kIsInt8, T, 2, 1, 1>(call);
  if (row_tiles == 1) return launch<kIsInt8, T, 2, 2, 1>(call);
  return launch<kIsInt8, T, 2, 2, 2>(call);
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
