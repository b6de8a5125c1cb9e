// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/byte_products.h"
#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/launch.cuh"

/// Few rows of x times a weight, both codes of one byte: as fast as the weight can be read.
///
/// A block takes 16 outputs at a time. Its warps share their columns, 128 at a time in turn, and
/// add up their sums at the end. Each warp has a ring of stages of its own in shared memory, which
/// it fills ahead of itself: with the weight's bytes alone before the kernel that makes x is done.
namespace torchao_cpp::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kOutputs = 16;  ///< Of a tile, as mma has them.
constexpr int kColumns = 128;
constexpr int kChunk = 16;  ///< Bytes of a copy.
constexpr int kChunks = kColumns / kChunk;
constexpr int kBlocksPerProcessor = 2;

/// Rows of x in groups of 8, as mma has them.
template <int kGroups>
struct Stage {
  static constexpr int kRows = kOutputs + 8 * kGroups;  ///< Weight rows, then x rows.
  static constexpr int kBytes = kRows * kColumns;
  static constexpr int kCount = kGroups == 1 ? 4 : 3;
};

/// Where chunk `chunk` of row `row` of a stage lies: so that the 16 bytes that eight lanes read
/// together, of four chunks of two rows, are in different banks.
__device__ int chunk_offset(int row, int chunk) {
  return row * kColumns + (chunk ^ (row % 2 * 4)) * kChunk;
}

/// int8 codes, whose sums are exact.
struct Int8Codes {
  using Sum = int;
  static __device__ void multiply(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                  unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
  }
};

struct Float8Codes {
  using Sum = float;
  static __device__ void multiply(float (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3,
                                  unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 890
    asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
  }
};

/// The stages of one warp, in order: those of the block's first tile, then of its next.
struct StageAt {
  std::int64_t tile;
  int segment;

  __device__ void advance(int segments) {
    segment += kWarps;
    if (segment < segments) return;
    segment = threadIdx.x / 32;
    tile += gridDim.x;
  }
};

/// What a warp copies: a lane has one chunk of a row, and of the rows every fourth.
template <int kGroups>
struct Copies {
  const std::uint8_t* codes;
  const std::uint8_t* x;
  std::int64_t n, row_bytes, x_rows, x_stride;
  unsigned ring;

  static constexpr int kRowStep = 32 / kChunks;

  __device__ unsigned place(int slot, int row) const {
    return ring + slot * Stage<kGroups>::kBytes + chunk_offset(row, threadIdx.x % kChunks);
  }
  __device__ static int column(int segment) {
    return segment * kColumns + threadIdx.x % kChunks * kChunk;
  }

  __device__ void weight(const StageAt& at, int slot) const {
    const int column = this->column(at.segment);
    const int first = threadIdx.x % 32 / kChunks;
#pragma unroll
    for (int i = 0; i < kOutputs; i += kRowStep) {
      const std::int64_t row = at.tile * kOutputs + first + i;
      const bool is_there = row < n && column < row_bytes;
      copy_or_clear(place(slot, first + i), is_there ? codes + row * row_bytes + column : codes,
                    is_there);
    }
  }

  // Rows that x does not have are left as they are: their sums are not used.
  __device__ void activation(const StageAt& at, int slot) const {
    const int column = this->column(at.segment);
    const int first = threadIdx.x % 32 / kChunks;
#pragma unroll
    for (int i = 0; i < 8 * kGroups; i += kRowStep) {
      if (first + i >= x_rows) break;
      const bool is_there = column < x_stride;
      copy_or_clear(place(slot, kOutputs + first + i),
                    is_there ? x + (first + i) * x_stride + column : x, is_there);
    }
  }
};

__device__ uint4 read_chunk(const std::uint8_t* stage, int row, int chunk) {
  return *reinterpret_cast<const uint4*>(stage + chunk_offset(row, chunk));
}

// Of mma's columns a lane takes 16 that lie together, for weight and x alike.
template <typename Codes, int kGroups>
__device__ void multiply_stage(const std::uint8_t* stage, typename Codes::Sum (&sums)[kGroups][4]) {
  const int row = threadIdx.x % 32 / 4;
#pragma unroll
  for (int first = 0; first < kChunks; first += 4) {
    const int chunk = first + threadIdx.x % 4;
    const uint4 low = read_chunk(stage, row, chunk);
    const uint4 high = read_chunk(stage, row + 8, chunk);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const uint4 x = read_chunk(stage, kOutputs + 8 * g + row, chunk);
      Codes::multiply(sums[g], low.x, high.x, low.y, high.y, x.x, x.y);
      Codes::multiply(sums[g], low.z, high.z, low.w, high.w, x.z, x.w);
    }
  }
}

/// Sums of all warps for one tile: [warp][x row][output].
template <typename Sum, int kGroups>
struct TileSums {
  /// One more keeps rows out of each other's banks; two blocks a processor have no room for more.
  static constexpr int kRow = kOutputs + 1;
  Sum values[kWarps][8 * kGroups][kRow];

  __device__ void put(const Sum (&sums)[kGroups][4]) {
    const int lane = threadIdx.x % 32;
    auto& own = values[threadIdx.x / 32];
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        own[8 * g + lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sums[g][i];
    }
  }

  __device__ Sum total(int m, int n) const {
    Sum sum = values[0][m][n];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) sum += values[w][m][n];
    return sum;
  }
};

template <typename Codes, int kGroups>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    byte_product(WeightView w, OperandView x, Epilogue epilogue, EpilogueArgs args) {
  using Sum = typename Codes::Sum;
  using Own = Stage<kGroups>;
  extern __shared__ __align__(16) std::uint8_t memory[];
  __shared__ TileSums<Sum, kGroups> tile_sums[2];  // In turn, so that one barrier a tile does.
  let_next_start();
  const int segments = static_cast<int>((w.row_bytes + kColumns - 1) / kColumns);
  const std::int64_t tiles = (w.n + kOutputs - 1) / kOutputs;
  std::uint8_t* ring = memory + threadIdx.x / 32 * Own::kCount * Own::kBytes;
  const Copies<kGroups> copies{w.codes,
                               static_cast<const std::uint8_t*>(x.data),
                               w.n,
                               w.row_bytes,
                               x.rows,
                               x.stride,
                               shared_address(ring)};
  const auto is_there = [&](const StageAt& at) { return at.tile < tiles && at.segment < segments; };
  const StageAt begin{blockIdx.x, static_cast<int>(threadIdx.x / 32)};
  StageAt ahead = begin;
#pragma unroll
  for (int slot = 0; slot < Own::kCount - 1; ++slot, ahead.advance(segments)) {
    if (is_there(ahead)) copies.weight(ahead, slot);
  }
  wait_for_previous();
  ahead = begin;
#pragma unroll
  for (int slot = 0; slot < Own::kCount - 1; ++slot, ahead.advance(segments)) {
    if (is_there(ahead)) copies.activation(ahead, slot);
    end_copies();
  }
  int slot = 0;
  int parity = 0;
  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x, parity ^= 1) {
    Sum sums[kGroups][4] = {};
#pragma unroll 1
    for (int segment = threadIdx.x / 32; segment < segments; segment += kWarps) {
      wait_for_copies<Own::kCount - 2>();
      __syncwarp();  // All lanes' copies are there, and all are done with the stage before.
      const int before = slot == 0 ? Own::kCount - 1 : slot - 1;
      if (is_there(ahead)) {
        copies.weight(ahead, before);
        copies.activation(ahead, before);
      }
      end_copies();
      ahead.advance(segments);
      multiply_stage<Codes, kGroups>(ring + slot * Own::kBytes, sums);
      slot = slot == Own::kCount - 1 ? 0 : slot + 1;
    }
    tile_sums[parity].put(sums);
    __syncthreads();
    const int m = threadIdx.x / kOutputs;
    const std::int64_t n = tile * kOutputs + threadIdx.x % kOutputs;
    if (m < x.rows && m < 8 * kGroups && n < w.n) {
      finish_sum(epilogue, args, tile_sums[parity].total(m, threadIdx.x % kOutputs), m, n);
    }
  }
}

/// Of all warps' rings; TileSums come on top.
template <int kGroups>
constexpr int kRingBytes = kWarps* Stage<kGroups>::kCount* Stage<kGroups>::kBytes;

template <typename Codes, int kGroups>
void launch(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
            const EpilogueArgs& args, int processors, cudaStream_t stream) {
  constexpr int kBytes = kRingBytes<kGroups>;
  static_assert(kThreads >= kOutputs * 8 * kGroups);
  const auto kernel = byte_product<Codes, kGroups>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  const std::int64_t tiles = (weight.n + kOutputs - 1) / kOutputs;
  const auto blocks = static_cast<unsigned>(
      min(tiles, static_cast<std::int64_t>(kBlocksPerProcessor) * processors));
  launch_beside(kernel, blocks, kThreads, kBytes, stream, weight, x, epilogue, args);
}

}  // namespace

bool byte_product_supports(DType codes, int device) noexcept {
  constexpr int kNeeded =
      std::max(kRingBytes<1> + static_cast<int>(2 * sizeof(TileSums<float, 1>)),
               kRingBytes<2> + static_cast<int>(2 * sizeof(TileSums<float, 2>)));
  int bytes = 0;
  if (cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
      cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return bytes >= kNeeded && cuda_capability(device) >= (codes == DType::kInt8 ? 80 : 89);
}

void launch_byte_product(const WeightView& weight, const OperandView& x, const Epilogue& epilogue,
                         const EpilogueArgs& args, int processors, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const auto with_codes = [&]<typename Codes>(Codes) {
    if (x.rows <= 8) {
      launch<Codes, 1>(weight, x, epilogue, args, processors, on);
    } else {
      launch<Codes, 2>(weight, x, epilogue, args, processors, on);
    }
  };
  if (x.dtype == DType::kInt8) {
    with_codes(Int8Codes{});
  } else {
    with_codes(Float8Codes{});
  }
}

}  // namespace torchao_cpp::cuda
