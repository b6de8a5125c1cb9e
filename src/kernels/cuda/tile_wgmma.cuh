// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tile_wgmma.h"
#include "kernels/cuda/tile_words.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace torchao_cpp::cuda {
namespace {

/// Warps of a block: two groups of four that multiply, and one group that starts copies.
constexpr int kMultiplyingThreads = 256;
constexpr int kProducers = 4;
constexpr int kWgmmaThreads = kMultiplyingThreads + 32 * kProducers;
/// Tiles of 16 weight rows of a block, one a multiplying warp.
constexpr int kBlockTiles = 8;
constexpr int kBlockRows = 16 * kBlockTiles;
constexpr int kSharedBytes = 227 << 10;
constexpr int kAlignment = 1024;

/// What the instances differ in. kStages: steps along K, of kChunks chunks each, that are on their
/// way at the same time. kBlocks: on a multiprocessor; two where few rows of x leave the time to
/// codes and their way to values, which is long.
template <typename TileFormat, int kRowsOfX>
struct WgmmaKind {
  using Format = TileFormat;
  using T = typename Format::T;
  static constexpr int kXRows = kRowsOfX;
  static constexpr int kChunks = wgmma_chunks(kXRows);
  static constexpr int kBlocks = wgmma_blocks(kXRows);
  static constexpr int kRegisters = kBlocks == 2 ? 104 : 232;  ///< Of a multiplying thread.
  static constexpr int kSumsOfThread = kXRows / 2;
  static constexpr int kXBytes = kChunks * kXRows * 128;
  static constexpr int kTileCodeBytes = kChunks * Format::kChunkBytes;
  static constexpr int kTileScaleBytes = 2 * kChunks * Format::kGroupBytes;
  static constexpr int kScalesAt = kXBytes + kBlockTiles * kTileCodeBytes;
  static constexpr int kStageBytes =
      (kScalesAt + kBlockTiles * kTileScaleBytes + kAlignment - 1) / kAlignment * kAlignment;
  /// Sums of some rows of x on their way to y. Padded, so that rows start in other banks.
  static constexpr int kRoundRows = kBlocks == 2 ? 16 : 64;
  static constexpr int kRounds = kXRows / kRoundRows;
  static constexpr int kRowFloats = kBlockRows + 4;
  static constexpr int kSumBytes = kRoundRows * kRowFloats * 4;
  static constexpr int kMostStages =
      (kSharedBytes / kBlocks - kSumBytes - 3 * kAlignment) / kStageBytes;
  static constexpr int kStages = kMostStages < 12 ? kMostStages : 12;
  static constexpr int kBytes = kAlignment + kStages * (kStageBytes + 16) + kSumBytes;
  /// What no second block fits beside.
  static constexpr int kBytesAlone = kSharedBytes / 2 + kAlignment;
  // Blocks that share K have all their sums where the ring was.
  static_assert(kXRows * kRowFloats * 4 <= kStages * kStageBytes);
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Addresses in shared memory: stages, sums, barriers of full and of empty stages.
template <typename Kind>
struct Ring {
  unsigned base;

  __device__ explicit Ring(const void* shared)
      : base((shared_address(shared) + kAlignment - 1) / kAlignment * kAlignment) {}

  __device__ unsigned x(int slot) const { return base + slot * Kind::kStageBytes; }
  __device__ unsigned codes(int slot, int tile) const {
    return x(slot) + Kind::kXBytes + tile * Kind::kTileCodeBytes;
  }
  __device__ unsigned scales(int slot, int tile) const {
    return x(slot) + Kind::kScalesAt + tile * Kind::kTileScaleBytes;
  }
  __device__ unsigned sums() const { return base + Kind::kStages * Kind::kStageBytes; }
  __device__ unsigned full(int slot) const { return sums() + Kind::kSumBytes + slot * 16; }
  __device__ unsigned empty(int slot) const { return full(slot) + 8; }
};

/// A block's part of the work.
struct Share {
  int rank;   ///< In the cluster.
  int part;   ///< Of K.
  int begin;  ///< First stage of an item.
  int count;  ///< Stages of an item.
  int first;  ///< Item.
  int items;

  __device__ explicit Share(const WgmmaPlan& plan) {
    const int size = plan.splits * plan.pairs;
    rank = static_cast<int>(blockIdx.x) % size;
    part = plan.splits > 1 ? rank : 0;
    begin = plan.stages * part / plan.splits;
    count = plan.stages * (part + 1) / plan.splits - begin;
    first = static_cast<int>(blockIdx.x) / size;
    items = (plan.items - first + plan.clusters - 1) / plan.clusters;
  }
  // Tiles of x go fastest, so that codes come from the cache for all but the first.
  __device__ int x_tile(const WgmmaPlan& plan, int i) const {
    return (first + i * plan.clusters) % plan.x_tiles;
  }
  __device__ int block_of_n(const WgmmaPlan& plan, int i) const {
    const int group = (first + i * plan.clusters) / plan.x_tiles;
    return plan.pairs > 1 ? group * plan.pairs + rank : group;
  }
};

__device__ unsigned load_word(unsigned address) {
  unsigned v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
__device__ void load_words(unsigned address, unsigned* v) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
               : "r"(address));
}
__device__ void store_float(unsigned address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}

/// A stage of the ring and how many times it came round.
template <typename Kind>
struct RingPlace {
  int slot = 0;
  unsigned parity = 0;

  __device__ void go_on() {
    if (++slot < Kind::kStages) return;
    slot = 0;
    parity ^= 1;
  }
  __device__ int before() const { return slot == 0 ? Kind::kStages - 1 : slot - 1; }
};

/// A warp that starts copies of a block, by one of its lanes: of its share of the tiles, and the
/// first also of x.
template <typename Kind>
struct Producer {
  using Format = typename Kind::Format;
  static constexpr int kTiles = kBlockTiles / kProducers;
  const CodeTilesView& w;
  const WgmmaPlan& plan;
  const std::byte* x;
  const Share& share;
  Ring<Kind> ring;
  int warp;  ///< Of those that start copies.

  __device__ void run() const {
    // Codes are no kernel's output: the first ones need not wait.
    const int early = min(share.count, Kind::kStages);
    for (int i = 0; i < early; ++i) start_weight(i, block_tile(0), share.begin + i);
    wait_for_previous();
    fence_copies();
    RingPlace<Kind> place;
    for (int item = 0; item < share.items; ++item) {
      const std::int64_t tile = block_tile(item);
      const std::byte* from =
          x + (std::int64_t{share.x_tile(plan, item)} * plan.stages + share.begin) * Kind::kXBytes;
      for (int i = 0; i < share.count; ++i) {
        if (item > 0 || i >= early) {
          wait_barrier(ring.empty(place.slot), place.parity ^ 1);
          start_weight(place.slot, tile, share.begin + i);
        }
        if (warp == 0) start_x(place.slot, from);
        from += Kind::kXBytes;
        place.go_on();
      }
    }
  }

  __device__ std::int64_t block_tile(int item) const {
    return std::int64_t{kBlockTiles} * share.block_of_n(plan, item) + warp * kTiles;
  }

  __device__ void start_weight(int slot, std::int64_t first_tile, int stage) const {
    const int chunk = stage * Kind::kChunks;
    const int count = min(Kind::kChunks, static_cast<int>(w.chunks) - chunk);
    const int group = (chunk * 64) >> w.group_shift;
    const int groups = ((chunk * 64 + count * 64 - 1) >> w.group_shift) - group + 1;
    const int code_bytes = count * Format::kChunkBytes;
    const int scale_bytes = groups * Format::kGroupBytes;
    const unsigned full = ring.full(slot);
    expect_bytes(full, (warp == 0 ? Kind::kXBytes : 0) + kTiles * (code_bytes + scale_bytes));
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const std::int64_t tile =
          min(first_tile + i, w.tiles - 1);  // One too many is the last again.
      const int own = warp * kTiles + i;
      copy_bulk(ring.codes(slot, own), w.codes + (tile * w.chunks + chunk) * Format::kChunkBytes,
                code_bytes, full);
      if constexpr (Format::kGroups) {
        copy_bulk(ring.scales(slot, own),
                  static_cast<const std::byte*>(w.scales) +
                      (tile * w.groups + group) * Format::kGroupBytes,
                  scale_bytes, full);
      }
    }
  }

  // Of a pair of blocks each brings a half for both.
  __device__ void start_x(int slot, const std::byte* from) const {
    if (plan.pairs == 1) return copy_bulk(ring.x(slot), from, Kind::kXBytes, ring.full(slot));
    constexpr int kHalf = Kind::kXBytes / 2;
    copy_bulk_to(3, ring.x(slot) + share.rank * kHalf, from + share.rank * kHalf, kHalf,
                 ring.full(slot));
  }
};

/// A multiplying warp: 16 rows of the weight, together with the three others of its group. While a
/// chunk is multiplied, values are made of the next one's codes.
template <typename Kind>
struct Consumer {
  using Format = typename Kind::Format;
  using T = typename Kind::T;
  const CodeTilesView& w;
  const WgmmaPlan& plan;
  Share share;
  Ring<Kind> ring;
  int warp;
  int lane;
  RingPlace<Kind> ahead = {};  ///< Of the chunk whose codes are read next.
  float c[Kind::kSumsOfThread];
  unsigned a[2][4][4];  ///< Left operands of this chunk and the next.

  // The chunks of an item, two by two: where stages have two, one stage.
  __device__ void multiply() {
    const int count =
        min(share.count * Kind::kChunks, static_cast<int>(w.chunks) - share.begin * Kind::kChunks);
    RingPlace<Kind> now = ahead;
#pragma unroll
    for (float& sum : c) sum = 0;
    read_ahead<0>(a[0]);
#pragma unroll 1
    for (int i = 0; i < count; i += 2) {
      multiply_chunk<0>(now, a[0], a[1], i == 0, i + 1 < count);
      if (i + 1 < count) multiply_chunk<Kind::kChunks - 1>(now, a[1], a[0], false, i + 2 < count);
    }
    wgmma_wait<0>();
    if (Kind::kChunks == 2 && count % 2 == 1) ahead.go_on();  // A stage that K does not fill.
    release(ahead.before());
  }

  // Values of chunk kChunk of the stage at `ahead`, which goes on.
  template <int kChunk>
  __device__ void read_ahead(unsigned (&to)[4][4]) {
    if (kChunk == 0) wait_barrier(ring.full(ahead.slot), ahead.parity);
    unsigned words[Format::kChunkWords];
    const unsigned codes = ring.codes(ahead.slot, warp) + kChunk * Format::kChunkBytes + lane * 16;
#pragma unroll
    for (int v = 0; v < Format::kWords; ++v) load_words(codes + 512 * v, words + 4 * v);
    Scales scales[2] = {};
    if constexpr (Format::kGroups) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int group = (64 * kChunk + 32 * half) >> w.group_shift;
        const unsigned at =
            ring.scales(ahead.slot, warp) + group * Format::kGroupBytes + lane / 4 * 4;
        scales[half].scale = load_word(at);
        if constexpr (Format::kScaleWords == 2) scales[half].zero = load_word(at + 32);
      }
    }
    if (kChunk + 1 == Kind::kChunks) ahead.go_on();
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      dequantized_values<Format>(words + j * Format::kWords, GroupFactors<Format>(scales[j / 2]),
                                 to[j]);
    }
  }

  // Chunk kChunk of the stage at `now`, which goes on, and the values of the chunk after it.
  template <int kChunk>
  __device__ void multiply_chunk(RingPlace<Kind>& now, const unsigned (&left)[4][4],
                                 unsigned (&next)[4][4], bool is_first, bool has_next) {
    const std::uint64_t right = swizzled_operand(ring.x(now.slot) + kChunk * Kind::kXRows * 128);
    wgmma_fence();
#pragma unroll
    for (int j = 0; j < 4; ++j) wgmma<Pair<T>::kIsBFloat16>(c, left[j], right + 2 * j, true);
    wgmma_commit();
    // The chunk before is done with: its registers and, if it ended one, its stage.
    wgmma_wait<1>();
    if (!is_first && kChunk == 0) release(now.before());
    if (has_next) read_ahead<(kChunk + 1) % Kind::kChunks>(next);
    if (kChunk + 1 == Kind::kChunks) now.go_on();
  }

  // To the producers of both blocks of a pair: what it held of x came from both. One lane arrives
  // for all (racecheck does not know that).
  __device__ void release(int slot) const {
    __syncwarp();
    if (lane < plan.pairs) arrive_at(ring.empty(slot), plan.pairs > 1 ? lane : share.rank);
  }

  // Sums go through shared memory some rows of x at a time, so that rows of y are whole.
  __device__ void finish(const Epilogue& epilogue, const EpilogueArgs& args, int rows, int item) {
    if constexpr (wgmma_shares_k(Kind::kXRows)) {
      if (plan.splits > 1) return finish_together(epilogue, args, rows, item);
    }
#pragma unroll 1
    for (int round = 0; round < Kind::kRounds; ++round) {
#pragma unroll
      for (int r = 0; r < Kind::kRounds; ++r) {
        if (r == round) store_sums<Kind::kRoundRows>(ring.sums(), r * Kind::kRoundRows);
      }
      sync_some(1, kMultiplyingThreads);
      finish_rows(ring.sums(), round * Kind::kRoundRows, Kind::kRoundRows, epilogue, args, rows,
                  item);
      sync_some(1, kMultiplyingThreads);
    }
  }

  // Of blocks that share K. One item is all that they take, so that the ring is free for sums; each
  // finishes a part of them.
  __device__ void finish_together(const Epilogue& epilogue, const EpilogueArgs& args, int rows,
                                  int item) {
    sync_some(1, kMultiplyingThreads);
    store_sums<Kind::kXRows>(ring.base, 0);
    sync_cluster();
    finish_rows(ring.base, 0, Kind::kXRows, epilogue, args, rows, item);
    leave_cluster();
  }

  // As [row of x][row of the weight]. `first` is known when this is compiled.
  template <int kRows>
  __device__ __forceinline__ void store_sums(unsigned at, int first) const {
    const int n = 16 * warp + lane / 4;
    const unsigned to = at + (lane % 4 * 2 * Kind::kRowFloats + n) * 4;
#pragma unroll
    for (int m = 0; m < kRows; m += 8) {
      const float* own = c + (first + m) / 2;
#pragma unroll
      for (int i = 0; i < 4; ++i)
        store_float(to + ((m + i % 2) * Kind::kRowFloats + i / 2 * 8) * 4, own[i]);
    }
  }

  // `count` rows of the item's x from `first` on, by eight outputs.
  __device__ void finish_rows(unsigned at, int first, int count, const Epilogue& epilogue,
                              const EpilogueArgs& args, int rows, int item) const {
    constexpr int kUnits = kBlockRows / 8;  // Of a row.
    const std::int64_t m0 = std::int64_t{share.x_tile(plan, item)} * Kind::kXRows + first;
    const std::int64_t n0 = std::int64_t{share.block_of_n(plan, item)} * kBlockRows;
    for (int unit = kMultiplyingThreads * share.part + 32 * warp + lane; unit < count * kUnits;
         unit += kMultiplyingThreads * plan.splits) {
      const int row = unit / kUnits;
      const std::int64_t n = n0 + unit % kUnits * 8;
      if (m0 + row >= rows || n >= w.n) continue;
      float sums[8] = {};
      add_parts(at + (row * Kind::kRowFloats + unit % kUnits * 8) * 4, sums);
      finish_eight<T>(epilogue, args, sums, m0 + row, n, w.n);
    }
  }

  // The parts of K in their order, of which four are on their way at a time.
  __device__ void add_parts(unsigned address, float (&sums)[8]) const {
    constexpr int kAtOnce = wgmma_shares_k(Kind::kXRows) ? 4 : 1;
    for (int part = 0; part < plan.splits; part += kAtOnce) {
      float4 low[kAtOnce];
      float4 high[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (part + i >= plan.splits) break;
        const int rank = plan.splits > 1 ? part + i : share.rank;
        low[i] = load_from(address, rank);
        high[i] = load_from(address + 16, rank);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (part + i >= plan.splits) break;
        sums[0] += low[i].x, sums[1] += low[i].y, sums[2] += low[i].z, sums[3] += low[i].w;
        sums[4] += high[i].x, sums[5] += high[i].y, sums[6] += high[i].z, sums[7] += high[i].w;
      }
    }
  }
};

template <typename Kind>
__device__ void prepare_ring(const Ring<Kind>& ring, const WgmmaPlan& plan) {
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < Kind::kStages; ++slot) {
      init_barrier(ring.full(slot), kProducers);
      init_barrier(ring.empty(slot), kMultiplyingThreads / 32 * plan.pairs);
    }
    fence_barriers();
  }
  // Blocks of a pair arrive at each other's barriers.
  if (plan.pairs > 1) {
    sync_cluster();
  } else {
    __syncthreads();
  }
}

#endif

template <typename Kind>
__global__ void __launch_bounds__(kWgmmaThreads, Kind::kBlocks)
    tile_wgmma(CodeTilesView w, WgmmaPlan plan, const std::byte* x, int rows, Epilogue epilogue,
               EpilogueArgs args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ std::byte shared[];
  const Ring<Kind> ring(shared);
  const Share share(plan);
  // The same in all lanes, which the compiler is to know.
  const int warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);
  const int lane = threadIdx.x % 32;
  prepare_ring(ring, plan);
  if (threadIdx.x >= kMultiplyingThreads) {
    give_registers<Kind::kBlocks == 2 ? 24 : 40>();
    if (lane == 0) Producer<Kind>{w, plan, x, share, ring, warp - kMultiplyingThreads / 32}.run();
  } else {
    take_registers<Kind::kRegisters>();
    wait_for_previous();
    Consumer<Kind> consumer{w, plan, share, ring, warp, lane};
    for (int i = 0; i < share.items; ++i) {
      consumer.multiply();
      consumer.finish(epilogue, args, rows, i);
    }
    // A block stays until the other one of its pair has arrived at its barriers.
    if (plan.pairs > 1) sync_cluster();
  }
#endif
}

template <typename Kind>
cudaLaunchConfig_t wgmma_config(const WgmmaPlan& plan, cudaLaunchAttribute (&attributes)[2],
                                cudaStream_t on) {
  const int size = plan.splits * plan.pairs;
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(plan.clusters * size);
  config.blockDim = kWgmmaThreads;
  config.dynamicSmemBytes = plan.is_alone ? max(Kind::kBytes, Kind::kBytesAlone) : Kind::kBytes;
  config.stream = on;
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = static_cast<unsigned>(size);
  attributes[0].val.clusterDim.y = 1;
  attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  config.attrs = attributes;
  config.numAttrs = cuda_starts_early() ? 2 : 1;
  return config;
}

template <typename Kind>
void launch_wgmma_kind(const CodeTilesView& w, const WgmmaPlan& plan, const void* x, int rows,
                       const Epilogue& epilogue, const EpilogueArgs& args, cudaStream_t on) {
  const auto kernel = tile_wgmma<Kind>;
  cudaLaunchAttribute attributes[2]{};
  const cudaLaunchConfig_t config = wgmma_config<Kind>(plan, attributes, on);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(config.dynamicSmemBytes));
  cudaLaunchKernelEx(&config, kernel, w, plan, static_cast<const std::byte*>(x), rows, epilogue,
                     args);
}

template <typename Format>
void launch_wgmma(const CodeTilesView& w, const WgmmaPlan& plan, const void* x, std::int64_t rows,
                  const Epilogue& epilogue, const EpilogueArgs& args, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  const auto with_rows = [&]<int kXRows>() {
    launch_wgmma_kind<WgmmaKind<Format, kXRows>>(w, plan, x, static_cast<int>(rows), epilogue, args,
                                                 on);
  };
  if (plan.x_rows == 32) return with_rows.template operator()<32>();
  if (plan.x_rows == 64) return with_rows.template operator()<64>();
  if (plan.x_rows == 128) return with_rows.template operator()<128>();
  with_rows.template operator()<256>();
}

}  // namespace
}  // namespace torchao_cpp::cuda
