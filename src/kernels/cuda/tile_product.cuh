// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/finish.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/tile_words.cuh"

/// Products of tiles with few rows of x by mma.sync: bound by the memory that codes come from.
namespace torchao_cpp::cuda {
namespace {

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

/// What the instances of tile_product differ in. kBlocks: of 8 rows of x. kTiles: that a warp
/// multiplies with what it reads of x. kColumns: of a group, or 128 where it has more. kStep:
/// chunks that a warp multiplies at a time, no less than a group has. kSteps: that it has registers
/// for; with one, what follows comes as soon as they are free.
template <typename TileFormat, int kRowBlocks, int kTilesOfWarp, int kGroupColumns>
struct ProductKind {
  using Format = TileFormat;
  using T = typename Format::T;
  static constexpr int kBlocks = kRowBlocks;
  static constexpr int kTiles = kTilesOfWarp;
  static constexpr int kColumns = kGroupColumns;
  static constexpr int kStep =
      kBlocks * kTiles == 1 && Format::kWords == 1 && kColumns > 32 ? 4 : 2;
  static constexpr int kSteps = kBlocks * kTiles < 4 ? 2 : 1;
  static constexpr int kGroups = (64 * kStep + kColumns - 1) / kColumns;  ///< Of a step.
  static constexpr int kWarps = 16;
  static constexpr int kSums = kTiles * kBlocks * 128;  ///< Of a warp.
  /// Turns whose sums are kept, and how many turns later they are finished: by then, all warps
  /// have come to their end, and none has to wait.
  static constexpr int kBuffers = kBlocks * kTiles == 1 ? 4 : 3;
  static constexpr int kDelay = kBuffers - 2;
  static constexpr int kSumBytes = kBuffers * kWarps * kSums * 4;
  static constexpr int kBytes = kSumBytes + kBuffers * 16;
};

/// A barrier of the block's shared memory on which nobody waits but who needs what others wrote.
struct Arrivals {
  unsigned address;

  __device__ void expect(unsigned count) const {
#if __CUDA_ARCH__ >= 800
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address), "r"(count) : "memory");
#endif
  }
  __device__ void arrive() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(address)
                 : "memory");
#endif
  }
  // Until all have arrived `times` times.
  __device__ void wait(int times) const {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.test_wait.parity.shared.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}" ::"r"(address),
        "r"((times - 1) & 1)
        : "memory");
#endif
  }
};

/// Sums of one group's products: scales belong to a row, so that they need not multiply every code.
/// With float zero points also the sums of x, from a left operand of ones.
template <typename Kind>
struct GroupSums {
  using Format = typename Kind::Format;
  using T = typename Kind::T;
  static constexpr int kBlocks = Kind::kBlocks;
  float products[Kind::kTiles][kBlocks][4] = {};
  float ones[kBlocks][4] = {};

  __device__ void add_ones(int b, const uint4& right) {
    if constexpr (Format::kZero == ZeroPointDomain::kFloat) {
      const unsigned one = bits_of(Pair<T>::of(1.0f));
      const unsigned row[4] = {one, one, one, one};
      multiply<T>(ones[b], row, right.x, right.y);
      multiply<T>(ones[b], row, right.z, right.w);
    }
  }

  __device__ void add_to(float (&c)[kBlocks][4], int tile, const Scales& s) const {
    const RowFactors<Format> factors(s);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[b][i] = fmaf(factors.scale[i / 2], products[tile][b][i], c[b][i]);
        if constexpr (Format::kZero == ZeroPointDomain::kFloat)
          c[b][i] = fmaf(factors.of_sum[i / 2], ones[b][i], c[b][i]);
      }
    }
  }
};

/// Where a warp is: chunks `chunk` .. `end` of its tiles are left. `tile` is the first of those
/// that the block has at a time; the next ones lie `stride` further.
struct TilePlace {
  int tile;
  int own;  ///< Tiles of the block before the warp's.
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

/// Codes, scales and zero points of a step. A tile or chunks too many are the last one again.
template <typename Kind>
struct StepWords {
  using Format = typename Kind::Format;
  static constexpr int kVectors = Format::kWords;  ///< Of a lane in a chunk.
  uint4 words[Kind::kTiles][Kind::kStep][kVectors];
  Scales scales[Kind::kTiles][Kind::kGroups];

  __device__ void read(const CodeTilesView& w, const TilePlace& at) {
#pragma unroll
    for (int c = 0; c < Kind::kStep; ++c) read_chunk(w, at, c);
#pragma unroll
    for (int g = 0; g < Kind::kGroups; ++g) read_group(w, at, g);
  }

  __device__ void read_chunk(const CodeTilesView& w, const TilePlace& at, int c) {
    const int chunk = max(min(at.chunk + c, at.end - 1), 0);
#pragma unroll
    for (int t = 0; t < Kind::kTiles; ++t) {
      const auto* from = reinterpret_cast<const uint4*>(w.codes) +
                         (tile(w, at, t) * w.chunks + chunk) * (32 * kVectors) + threadIdx.x % 32;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) words[t][c][v] = read_once(from + v * 32);
    }
  }

  __device__ void read_group(const CodeTilesView& w, const TilePlace& at, int g) {
    if constexpr (Format::kGroups) {
      const std::int64_t column =
          min(std::int64_t{64} * at.chunk + Kind::kColumns * g, w.chunks * 64 - 1);
#pragma unroll
      for (int t = 0; t < Kind::kTiles; ++t)
        scales[t][g] = read_scales<Format>(w, tile(w, at, t), column, threadIdx.x % 32 / 4);
    }
  }

 private:
  static __device__ std::int64_t tile(const CodeTilesView& w, const TilePlace& at, int t) {
    return min(std::int64_t{at.tile} + at.own + t, w.tiles - 1);
  }
};

/// What follows a step.
template <typename Kind>
struct Refill {
  const CodeTilesView& w;
  const TilePlace& place;
  bool is_needed;

  __device__ void chunk(StepWords<Kind>& step, int c) const {
    if (is_needed) step.read_chunk(w, place, c);
  }
  __device__ void group(StepWords<Kind>& step, int g) const {
    if (is_needed) step.read_group(w, place, g);
  }
  __device__ void all(StepWords<Kind>& step) const {
    if (is_needed) step.read(w, place);
  }
};

/// A warp's sums: 16 rows of each of its tiles with all rows of x.
template <typename Kind>
struct WarpProduct {
  using Format = typename Kind::Format;
  using T = typename Kind::T;
  static constexpr int kBlocks = Kind::kBlocks;

  static constexpr bool kRefills = Kind::kSteps == 1;

  float c[Kind::kTiles][kBlocks][4] = {};
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
  __device__ void add(StepWords<Kind>& step, int first, int end, std::int64_t k,
                      const Refill<Kind>& refill) {
    if (first + Kind::kStep <= end && 64 * (first + Kind::kStep) <= k) {
      add_halves<true>(step, first, 2 * Kind::kStep, refill);
    } else {
      add_halves<false>(step, first,
                        min(2 * (end - first), (static_cast<int>(k) - 64 * first) / 32), refill);
      if constexpr (kRefills) refill.all(step);
    }
  }

  // Without a check between them, reads of x go ahead of the products.
  template <bool kIsWhole>
  __device__ void add_halves(StepWords<Kind>& step, int first, int count,
                             const Refill<Kind>& refill) {
    GroupSums<Kind> group;
#pragma unroll
    for (int half = 0; half < 2 * Kind::kStep; ++half) {
      if (!kIsWhole && half >= count) break;
      const int column = 32 * half;  // Of those at hand.
      const bool ends_group = (column + 32) % Kind::kColumns == 0;
      uint4 right[kBlocks];
#pragma unroll
      for (int b = 0; b < kBlocks; ++b)
        right[b] = *reinterpret_cast<const uint4*>(x[b] + 64 * first + column);
      if constexpr (Format::kGroups) {
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) group.add_ones(b, right[b]);
      }
#pragma unroll
      for (int t = 0; t < Kind::kTiles; ++t) {
        const auto* words = reinterpret_cast<const unsigned*>(step.words[t][half / 2]) +
                            half % 2 * 2 * Format::kWords;
        if constexpr (Format::kGroups) {
          const Scales& own = step.scales[t][column / Kind::kColumns];
          add_half(words, right, own.zero, group.products[t]);
          if (ends_group) group.add_to(c[t], t, own);
        } else {
          add_half(words, right, 0, c[t]);
        }
      }
      if (Format::kGroups && ends_group) group = {};
      if constexpr (kIsWhole && kRefills) {
        if (half % 2 == 1) refill.chunk(step, half / 2);
        if (ends_group) refill.group(step, column / Kind::kColumns);
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
  float* sums;  ///< [kBuffers][kWarps][kTiles][kBlocks][4][lane]
  int parts;
  WarpProduct<Kind> product;
  TilePlace place;
  int outputs = 0;    ///< Of a turn.
  int finishers = 0;  ///< Warps that finish a turn's sums, others each time.
  int turn = 0;

  __device__ void prepare() {
    outputs = Kind::kWarps / parts * Kind::kTiles * 16 * static_cast<int>(x.rows);
    finishers = min((outputs + 31) / 32, Kind::kWarps);
    if (threadIdx.x == 0) {
      for (int buffer = 0; buffer < Kind::kBuffers; ++buffer) {
        written(buffer).expect(32 * Kind::kWarps);
        finished(buffer).expect(32 * finishers);
      }
    }
    __syncthreads();
  }

  __device__ Arrivals written(int buffer) const {
    const auto barriers = static_cast<unsigned>(__cvta_generic_to_shared(sums)) + Kind::kSumBytes;
    return {barriers + buffer * 16};
  }
  __device__ Arrivals finished(int buffer) const { return {written(buffer).address + 8}; }

  // Multiplies what is at hand while what follows comes, to `ahead` (the same with one step); false
  // after the last.
  __device__ bool advance(StepWords<Kind>& now, StepWords<Kind>& ahead) {
    const TilePlace next = place.after(Kind::kStep);
    const Refill<Kind> refill{w, next, next.tile < w.tiles};
    if constexpr (Kind::kSteps == 2) refill.all(ahead);
    product.add(now, place.chunk, place.end, w.k, refill);
    if (place.is_last_of_tile(Kind::kStep)) end_turn();
    place = next;
    return place.tile < w.tiles;
  }

  __device__ void end_turn() {
    const int buffer = turn % Kind::kBuffers;
    if (turn >= Kind::kBuffers) finished(buffer).wait(turn / Kind::kBuffers);
    float* own = sums_of(turn) + threadIdx.x / 32 * Kind::kSums + threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Kind::kTiles * Kind::kBlocks * 4; ++i) {
      float& sum = product.c[i / (4 * Kind::kBlocks)][i / 4 % Kind::kBlocks][i % 4];
      own[i * 32] = sum;
      sum = 0;
    }
    written(buffer).arrive();
    if (turn >= Kind::kDelay) finish_turn(turn - Kind::kDelay);
    ++turn;
  }

  // After the last turn.
  __device__ void end() {
    for (int last = max(turn - Kind::kDelay, 0); last < turn; ++last) finish_turn(last);
  }

  __device__ float* sums_of(int of_turn) const {
    return sums + of_turn % Kind::kBuffers * (Kind::kWarps * Kind::kSums);
  }

  // The warp's part of it, if any.
  __device__ void finish_turn(int of_turn) const {
    const int rank =
        (static_cast<int>(threadIdx.x) / 32 + of_turn * (Kind::kWarps - finishers)) % Kind::kWarps;
    if (rank >= finishers) return;
    const int buffer = of_turn % Kind::kBuffers;
    written(buffer).wait(of_turn / Kind::kBuffers + 1);
    const std::int64_t tile = std::int64_t{blockIdx.x} * (place.stride / gridDim.x) +
                              std::int64_t{of_turn} * place.stride;
    for (int i = rank * 32 + threadIdx.x % 32; i < outputs; i += 32 * finishers)
      finish_output(sums_of(of_turn), tile, i);
    finished(buffer).arrive();
  }

  // Output i of a turn whose first tile is `first`. The parts of a sum in their order, whatever the
  // order in which warps came to an end.
  __device__ void finish_output(const float* of_turn, std::int64_t first, int i) const {
    constexpr int kOfTile = 128 * Kind::kBlocks;
    const int row = i % 16;
    const int m = i / 16 % static_cast<int>(x.rows);
    const int own_tile = i / 16 / static_cast<int>(x.rows);
    const int unit = own_tile / Kind::kTiles;
    const int tile = own_tile % Kind::kTiles;
    const std::int64_t n = (first + own_tile) * 16 + row;
    if (n >= w.n) return;
    const int at =
        tile * kOfTile + (m / 8 * 4 + row / 8 * 2 + m % 2) * 32 + row % 8 * 4 + m % 8 / 2;
    const float* own = of_turn + unit * parts * Kind::kSums + at;
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
  const int tiles = Kind::kTiles * (Kind::kWarps / parts);
  // Whole pairs of chunks, which groups of 128 columns are; one at least, of which none may be the
  // warp's.
  const int pairs = static_cast<int>(w.chunks + 1) / 2;
  const int begin = pairs * part / parts * 2;
  const int end = min(pairs * (part + 1) / parts * 2, static_cast<int>(w.chunks));
  const TilePlace first{
      tiles * static_cast<int>(blockIdx.x), unit * Kind::kTiles, begin, begin, end,
      tiles * static_cast<int>(gridDim.x)};
  BlockProduct<Kind> block{w, x, epilogue, args, sums, parts, WarpProduct<Kind>(x, lane), first};
  StepWords<Kind> steps[Kind::kSteps];
  // The first codes are on their way while the kernel before still runs.
  steps[0].read(w, first);
  block.prepare();
  wait_for_previous();
  constexpr int kOther = Kind::kSteps - 1;
  while (block.advance(steps[0], steps[kOther]) && block.advance(steps[kOther], steps[0])) {
  }
  block.end();
}

// Whether blocks can take two tiles at a time without leaving more multiprocessors idle at the end.
inline bool goes_by_two(const CodeTilesView& w, int processors) {
  const auto turns = [&](std::int64_t tiles) {
    const std::int64_t blocks = (w.tiles + tiles - 1) / tiles;
    return tiles * ((blocks + processors - 1) / processors);
  };
  return 16 * turns(2) <= 17 * turns(1);
}

template <typename Kind>
void launch_product_kind(const CodeTilesView& w, const OperandView& x, const Epilogue& epilogue,
                         const EpilogueArgs& args, int processors, int units, cudaStream_t on) {
  const auto kernel = tile_product<Kind>;
  if (Kind::kBytes > 48 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Kind::kBytes);
  const int tiles = units * Kind::kTiles;
  const std::int64_t blocks = min((w.tiles + tiles - 1) / tiles, std::int64_t{processors});
  launch_early(kernel, static_cast<unsigned>(blocks), 32 * Kind::kWarps, Kind::kBytes, on, w, x,
               epilogue, args, Kind::kWarps / units);
}

template <typename Format, int kColumns>
void launch_product(const CodeTilesView& w, const OperandView& x, const Epilogue& epilogue,
                    const EpilogueArgs& args, int processors, cudaStream_t on) {
  const auto with_kind = [&]<int kBlocks, int kTiles>(int units) {
    launch_product_kind<ProductKind<Format, kBlocks, kTiles, kColumns>>(w, x, epilogue, args,
                                                                        processors, units, on);
  };
  // By two, the block finishes half as often, and what is read of x serves twice.
  const int tiles = goes_by_two(w, processors) ? 2 : 1;
  if (x.rows <= 8) return with_kind.template operator()<1, 1>(tiles);
  if (x.rows > 16) return with_kind.template operator()<4, 1>(tiles);
  if constexpr (Format::kWords == 1) {
    if (tiles == 2) return with_kind.template operator()<2, 2>(1);
  }
  with_kind.template operator()<2, 1>(tiles);
}

}  // namespace
}  // namespace torchao_cpp::cuda
