// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tile_words.cuh"

/// Products of tiles with few rows of x by mma.sync: bound by the memory that codes come from.
namespace torchao_cpp::cuda {
namespace {

// Once and from end to end: past the first-level cache, which holds x.
__device__ uint4 read_once(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

// c += a * b
template <typename T>
__device__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (Pair<T>::kIsBFloat16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

/// Scales of a lane's rows g and g + 8 as float32, and what a sum of x is multiplied with.
template <typename Format>
struct RowFactors {
  float scale[2];
  float of_sum[2];

  __device__ explicit RowFactors(const Scales& s) {
    using T = typename Format::T;
    using Type = typename Pair<T>::Type;
    const Type scale_pair = pair_of<Type>(s.scale);
    scale[0] = to_float(scale_pair.x);
    scale[1] = to_float(scale_pair.y);
    if constexpr (Format::kZero == ZeroPointDomain::kFloat) {
      const Type zero_pair = pair_of<Type>(s.zero);
      of_sum[0] = fmaf(-Pair<T>::kOffset, scale[0], to_float(zero_pair.x));
      of_sum[1] = fmaf(-Pair<T>::kOffset, scale[1], to_float(zero_pair.y));
    }
  }
};

/// What the instances of tile_product differ in. kBlocks: of 8 rows of x. kColumns: of a group, or
/// 128 where it has more. kStep: chunks that a warp reads at a time, twice of which are on their
/// way.
template <typename TileFormat, int kRowBlocks, int kGroupColumns>
struct ProductKind {
  using Format = TileFormat;
  using T = typename Format::T;
  static constexpr int kBlocks = kRowBlocks;
  static constexpr int kColumns = kGroupColumns;
  static constexpr int kStep = kBlocks == 4                                           ? 1
                               : kBlocks == 1 && Format::kWords == 1 && kColumns > 32 ? 4
                                                                                      : 2;
  static constexpr int kGroups = (64 * kStep + kColumns - 1) / kColumns;  ///< Of a step.
  static constexpr int kWarps = 16;
  static constexpr int kSums = kBlocks * 128;  ///< Of a tile.
  /// Warps that finish a tile; all take turns, so that none gets further ahead than the others'
  /// next turn: buffers for sums of more tiles than that need no other barrier.
  static constexpr int kFinishers = kSums / 32;
  static constexpr int kBuffers = kWarps / kFinishers + 2;
};

/// Sums of one group's products: scales belong to a row, so that they need not multiply every code.
/// With float zero points also the sums of x, from a left operand of ones.
template <typename Kind>
struct GroupSums {
  using Format = typename Kind::Format;
  using T = typename Kind::T;
  static constexpr int kBlocks = Kind::kBlocks;
  float products[kBlocks][4] = {};
  float ones[kBlocks][4] = {};

  __device__ void add_ones(int b, const uint4& right) {
    if constexpr (Format::kZero == ZeroPointDomain::kFloat) {
      const unsigned one = bits_of(Pair<T>::of(1.0f));
      const unsigned row[4] = {one, one, one, one};
      multiply<T>(ones[b], row, right.x, right.y);
      multiply<T>(ones[b], row, right.z, right.w);
    }
  }

  __device__ void add_to(float (&c)[kBlocks][4], const Scales& s) const {
    const RowFactors<Format> factors(s);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[b][i] = fmaf(factors.scale[i / 2], products[b][i], c[b][i]);
        if constexpr (Format::kZero == ZeroPointDomain::kFloat)
          c[b][i] = fmaf(factors.of_sum[i / 2], ones[b][i], c[b][i]);
      }
    }
  }
};

/// Where a warp is: chunks `chunk` .. `end` of a tile are left. A block has `units` tiles at a
/// time, of which `tile` is the first; its tiles lie `stride` apart.
struct TilePlace {
  std::int64_t tile;
  int unit;  ///< Of the warp.
  int chunk;
  int begin;
  int end;
  int stride;

  __device__ TilePlace after(int step) const {
    TilePlace next = *this;
    next.chunk += step;
    if (next.chunk >= end) {
      next.chunk = begin;
      next.tile += stride;
    }
    return next;
  }
  __device__ bool is_last_of_tile(int step) const { return chunk + step >= end; }
};

/// Codes, scales and zero points of a step.
template <typename Kind>
struct StepWords {
  using Format = typename Kind::Format;
  static constexpr int kVectors = Format::kWords;  ///< Of a lane in a chunk.
  uint4 words[Kind::kStep][kVectors];
  Scales scales[Kind::kGroups];

  // A tile or chunks too many are the last one again.
  __device__ void read(const CodeTilesView& w, const TilePlace& at, int lane) {
    const std::int64_t own = min(at.tile + at.unit, w.tiles - 1);
    const auto* tile =
        reinterpret_cast<const uint4*>(w.codes) + own * w.chunks * (32 * kVectors) + lane;
#pragma unroll
    for (int c = 0; c < Kind::kStep; ++c) {
      const int chunk = min(at.chunk + c, static_cast<int>(w.chunks) - 1);
#pragma unroll
      for (int v = 0; v < kVectors; ++v)
        words[c][v] = read_once(tile + (chunk * kVectors + v) * 32);
    }
    if constexpr (Format::kGroups) {
#pragma unroll
      for (int g = 0; g < Kind::kGroups; ++g) {
        const std::int64_t column =
            min(std::int64_t{64} * at.chunk + Kind::kColumns * g, w.chunks * 64 - 1);
        scales[g] = read_scales<Format>(w, own, column, lane / 4);
      }
    }
  }
};

/// A warp's sums: 16 rows of a tile with all rows of x.
template <typename Kind>
struct WarpProduct {
  using Format = typename Kind::Format;
  using T = typename Kind::T;
  static constexpr int kBlocks = Kind::kBlocks;

  float c[kBlocks][4] = {};
  const T* x[kBlocks];  ///< The lane's columns of the first chunk; a row too many is the last one.

  __device__ WarpProduct(const OperandView& operand, int lane) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const std::int64_t m = min(static_cast<std::int64_t>(8 * b + lane / 4), operand.rows - 1);
      x[b] = static_cast<const T*>(operand.data) + m * operand.stride + 8 * (lane % 4);
    }
  }

  // 32 columns: the products with the words of two left operands.
  __device__ void add_half(const unsigned* words, const uint4 (&right)[kBlocks], unsigned zeros,
                           float (&sums)[kBlocks][4]) {
#if __CUDA_ARCH__ >= 800
    unsigned a[2][4];
    bare_values<Format>(words, zeros, a[0]);
    bare_values<Format>(words + Format::kWords, zeros, a[1]);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      multiply<T>(sums[b], a[0], right[b].x, right[b].y);
      multiply<T>(sums[b], a[1], right[b].z, right[b].w);
    }
#endif
  }

  // Chunks first .. end, kStep at most. Groups end with the chunks of a warp.
  __device__ void add(const StepWords<Kind>& step, int first, int end, std::int64_t k) {
    if (first + Kind::kStep <= end && 64 * (first + Kind::kStep) <= k) {
      add_halves<true>(step, first, 2 * Kind::kStep);
    } else {
      add_halves<false>(step, first,
                        min(2 * (end - first), (static_cast<int>(k) - 64 * first) / 32));
    }
  }

  // Without a check between them, reads of x go ahead of the products.
  template <bool kIsWhole>
  __device__ void add_halves(const StepWords<Kind>& step, int first, int count) {
    GroupSums<Kind> group;
#pragma unroll
    for (int half = 0; half < 2 * Kind::kStep; ++half) {
      if (!kIsWhole && half >= count) break;
      const int column = 32 * half;  // Of those at hand.
      uint4 right[kBlocks];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        right[b] = *reinterpret_cast<const uint4*>(x[b] + 64 * first + column);
      const auto* words =
          reinterpret_cast<const unsigned*>(step.words[half / 2]) + half % 2 * 2 * Format::kWords;
      if constexpr (Format::kGroups) {
        const Scales& own = step.scales[column / Kind::kColumns];
        add_half(words, right, own.zero, group.products);
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) group.add_ones(b, right[b]);
        if ((column + 32) % Kind::kColumns == 0) {
          group.add_to(c, own);
          group = {};
        }
      } else {
        add_half(words, right, 0, c);
      }
    }
  }
};

/// A block of kWarps warps, `parts` of them along K and the rest beside each other, and the tiles
/// that it takes one after another. While sums of a tile are added up and finished, codes of the
/// next are on their way.
template <typename Kind>
struct BlockProduct {
  const CodeTilesView& w;
  const OperandView& x;
  const Epilogue& epilogue;
  const EpilogueArgs& args;
  float* sums;  ///< [kBuffers][kWarps][kBlocks * 4][lane]
  int parts;
  WarpProduct<Kind> product;
  TilePlace place;
  int turn = 0;

  // Multiplies what is at hand while what follows comes; false after the last.
  __device__ bool advance(const StepWords<Kind>& now, StepWords<Kind>& ahead) {
    const TilePlace next = place.after(Kind::kStep);
    if (next.tile < w.tiles) ahead.read(w, next, threadIdx.x % 32);
    product.add(now, place.chunk, place.end, w.k);
    if (place.is_last_of_tile(Kind::kStep)) finish_tile();
    place = next;
    return place.tile < w.tiles;
  }

  // Only the warps whose turn it is wait for the others' sums.
  __device__ void finish_tile() {
    constexpr int kTurns = Kind::kWarps / Kind::kFinishers;
    const int warp = threadIdx.x / 32;
    const int buffer = turn % Kind::kBuffers;
    float* of_tile = sums + buffer * Kind::kWarps * Kind::kSums;
    float* own = of_tile + warp * Kind::kSums + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Kind::kBlocks * 4; ++i) {
      own[i * 32] = product.c[i / 4][i % 4];
      product.c[i / 4][i % 4] = 0;
    }
    if (warp / Kind::kFinishers == turn % kTurns) {
      sync_at(1 + buffer);
      const int first = threadIdx.x % (32 * Kind::kFinishers);
      for (int unit = 0; unit < Kind::kWarps / parts; ++unit)
        finish_output(of_tile, unit, first / 16, first % 16);
    } else {
      arrive_at(1 + buffer);
    }
    ++turn;
  }

  static __device__ void sync_at(int barrier) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(32 * Kind::kWarps) : "memory");
  }
  static __device__ void arrive_at(int barrier) {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(32 * Kind::kWarps) : "memory");
  }

  // The parts of a sum in their order, whatever the order in which warps came to an end.
  __device__ void finish_output(const float* of_tile, int unit, int m, int row) const {
    const std::int64_t n = (place.tile + unit) * 16 + row;
    if (m >= x.rows || n >= w.n) return;
    const int at = (m / 8 * 4 + row / 8 * 2 + m % 2) * 32 + row % 8 * 4 + m % 8 / 2;
    const float* own = of_tile + unit * parts * Kind::kSums + at;
    float sum = 0;
#pragma unroll 8
    for (int part = 0; part < parts; ++part) sum += own[part * Kind::kSums];
    finish_sum(epilogue, args, sum, m, n);
  }
};

template <typename Kind>
__global__ void __launch_bounds__(32 * Kind::kWarps, 1)
    tile_product(CodeTilesView w, OperandView x, Epilogue epilogue, EpilogueArgs args, int parts) {
  extern __shared__ float sums[];
  const int lane = threadIdx.x % 32;
  const int part = threadIdx.x / 32 % parts;
  const int unit = threadIdx.x / 32 / parts;
  const int units = Kind::kWarps / parts;
  // Whole pairs of chunks, which groups of 128 columns are; one at least, of which none may be the
  // warp's.
  const int pairs = static_cast<int>(w.chunks + 1) / 2;
  const int begin = pairs * part / parts * 2;
  const int end = min(pairs * (part + 1) / parts * 2, static_cast<int>(w.chunks));
  const TilePlace first{std::int64_t{units} * blockIdx.x,   unit, begin, begin, end,
                        units * static_cast<int>(gridDim.x)};
  BlockProduct<Kind> block{w, x, epilogue, args, sums, parts, WarpProduct<Kind>(x, lane), first};
  StepWords<Kind> even;
  StepWords<Kind> odd;
  // The first codes are on their way while the kernel before still runs.
  even.read(w, first, lane);
  wait_for_previous();
  while (block.advance(even, odd) && block.advance(odd, even)) {
  }
}

// Tiles that a block takes at a time: two share what is read of x where the first-level cache does
// not hold it, unless that leaves multiprocessors idle.
inline int units_of(const CodeTilesView& w, const OperandView& x, int processors) {
  constexpr std::int64_t kCachedBytes = 128 << 10;
  const auto turns = [&](std::int64_t units) {
    const std::int64_t blocks = (w.tiles + units - 1) / units;
    return units * ((blocks + processors - 1) / processors);
  };
  return x.rows * w.k * 2 > kCachedBytes && turns(2) <= turns(1) ? 2 : 1;
}

template <typename Kind>
void launch_product_kind(const CodeTilesView& w, const OperandView& x, const Epilogue& epilogue,
                         const EpilogueArgs& args, int processors, cudaStream_t on) {
  constexpr int kBytes = Kind::kBuffers * Kind::kWarps * Kind::kSums * 4;
  const auto kernel = tile_product<Kind>;
  if (kBytes > 48 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  const int units = units_of(w, x, processors);
  const std::int64_t blocks = min((w.tiles + units - 1) / units, std::int64_t{processors});
  launch_early(kernel, static_cast<unsigned>(blocks), 32 * Kind::kWarps, kBytes, on, w, x, epilogue,
               args, Kind::kWarps / units);
}

template <typename Format, int kColumns>
void launch_product(const CodeTilesView& w, const OperandView& x, const Epilogue& epilogue,
                    const EpilogueArgs& args, int processors, cudaStream_t on) {
  if (x.rows <= 8) {
    launch_product_kind<ProductKind<Format, 1, kColumns>>(w, x, epilogue, args, processors, on);
  } else if (x.rows <= 16) {
    launch_product_kind<ProductKind<Format, 2, kColumns>>(w, x, epilogue, args, processors, on);
  } else {
    launch_product_kind<ProductKind<Format, 4, kColumns>>(w, x, epilogue, args, processors, on);
  }
}

}  // namespace
}  // namespace torchao_cpp::cuda
