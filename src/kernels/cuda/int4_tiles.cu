// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/int4_words.cuh"
#include "kernels/cuda/launch.cuh"

namespace torchao_cpp::cuda {
namespace {

/// The four registers of a left operand from one word: bare codes, of which what is the same for
/// all of a row comes off later or, as an exact difference, here.
template <typename T, ZeroPointDomain kZero>
__device__ void bare_word(unsigned word, unsigned zeros, unsigned (&a)[4]) {
#if __CUDA_ARCH__ >= 800
  using P = Pair<T>;
  using Type = typename P::Type;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    a[i] = ((word >> (4 * i)) & 0x000f000fu) | P::kMagic;
    if constexpr (kZero == ZeroPointDomain::kInt) {
      const Type zero_pair = pair_of<Type>(zeros);
      a[i] =
          bits_of(__hsub2(pair_of<Type>(a[i]), P::twice(i % 2 == 0 ? zero_pair.x : zero_pair.y)));
    } else if constexpr (kZero == ZeroPointDomain::kNone) {
      a[i] = bits_of(__hsub2(pair_of<Type>(a[i]), P::of(P::kOffset)));
    }
  }
#endif
}

// c += a * b
template <typename T>
__device__ void multiply(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (Pair<T>::kMagic == Pair<__nv_bfloat16>::kMagic) {
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
template <typename T, ZeroPointDomain kZero>
struct RowFactors {
  float scale[2];
  float of_sum[2];

  __device__ explicit RowFactors(const Scales& s) {
    using Type = typename Pair<T>::Type;
    const Type scale_pair = pair_of<Type>(s.scale);
    scale[0] = to_float(scale_pair.x);
    scale[1] = to_float(scale_pair.y);
    if constexpr (kZero == ZeroPointDomain::kFloat) {
      const Type zero_pair = pair_of<Type>(s.zero);
      of_sum[0] = fmaf(-Pair<T>::kOffset, scale[0], to_float(zero_pair.x));
      of_sum[1] = fmaf(-Pair<T>::kOffset, scale[1], to_float(zero_pair.y));
    }
  }
};

/// Sums of one group's products: scales belong to a row, so that they need not multiply every code.
/// With float zero points also the sums of x, from a left operand of ones.
template <typename T, ZeroPointDomain kZero, int kBlocks, int kTiles>
struct GroupSums {
  float products[kTiles][kBlocks][4] = {};
  float ones[kBlocks][4] = {};

  __device__ void add_ones(int b, const uint4& right) {
    if constexpr (kZero == ZeroPointDomain::kFloat) {
      const unsigned one = bits_of(Pair<T>::of(1.0f));
      const unsigned row[4] = {one, one, one, one};
      multiply<T>(ones[b], row, right.x, right.y);
      multiply<T>(ones[b], row, right.z, right.w);
    }
  }

  __device__ void add_to(float (&c)[kBlocks][4], int tile, const Scales& s) const {
    const RowFactors<T, kZero> factors(s);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[b][i] = fmaf(factors.scale[i / 2], products[tile][b][i], c[b][i]);
        if constexpr (kZero == ZeroPointDomain::kFloat)
          c[b][i] = fmaf(factors.of_sum[i / 2], ones[b][i], c[b][i]);
      }
    }
  }
};

/// What the instances of int4_product differ in. kBlocks: of 8 rows of x. kTiles: of a warp, which
/// share what is read of x. kUnroll: chunks on their way at the same time. kColumns: of a group,
/// or 128 where it has more.
template <typename Value, ZeroPointDomain kZeroKind, int kRowBlocks, int kGroupColumns>
struct ProductKind {
  using T = Value;
  static constexpr ZeroPointDomain kZero = kZeroKind;
  static constexpr int kBlocks = kRowBlocks;
  static constexpr int kColumns = kGroupColumns;
  static constexpr bool kHalves = kColumns == 32;  ///< The halves of a chunk are groups.
  static constexpr int kTiles = 1;
  static constexpr int kUnroll = kBlocks == 4 ? 2 : 4;
  static constexpr int kWarps = 16;
  /// Blocks of kWarps warps that a processor holds at once, for their registers.
  static constexpr int kBlocksPerProcessor = kBlocks == 1 ? 2 : 1;
};

/// Codes, scales and zero points of kCount chunks of a warp's tiles.
template <typename Kind, int kCount>
struct Chunks {
  static constexpr int kGroups = (64 * kCount + Kind::kColumns - 1) / Kind::kColumns;
  uint4 words[kCount][Kind::kTiles];
  Scales scales[kGroups][Kind::kTiles];

  __device__ void read(const Int4TilesView& w, std::int64_t tile, int chunk, int lane) {
    using T = typename Kind::T;
#pragma unroll
    for (int t = 0; t < Kind::kTiles; ++t) {
      // A tile too many reads the last one again.
      const std::int64_t own = min(tile + t, w.tiles - 1);
      const uint4* from =
          reinterpret_cast<const uint4*>(w.codes) + (own * w.chunks + chunk) * 32 + lane;
#pragma unroll
      for (int c = 0; c < kCount; ++c) words[c][t] = read_once(from + 32 * c);
#pragma unroll
      for (int g = 0; g < kGroups; ++g)
        scales[g][t] =
            read_scales<T, Kind::kZero>(w, own, 64 * chunk + Kind::kColumns * g, lane / 4);
    }
  }
};

/// A warp's products: 16 rows of each of its tiles with all rows of x.
template <typename Kind>
struct WarpProduct {
  using T = typename Kind::T;
  static constexpr int kBlocks = Kind::kBlocks;
  static constexpr int kTiles = Kind::kTiles;

  float c[kTiles][kBlocks][4] = {};
  const T* x[kBlocks];  ///< The lane's columns of the first chunk; a row too many is the last one.

  __device__ WarpProduct(const OperandView& operand, int lane) {
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const std::int64_t m = min(static_cast<std::int64_t>(8 * b + lane / 4), operand.rows - 1);
      x[b] = static_cast<const T*>(operand.data) + m * operand.stride + 8 * (lane % 4);
    }
  }

  template <int kCount>
  __device__ void step(const Int4TilesView& w, std::int64_t tile, int chunk, int lane) {
    Chunks<Kind, kCount> chunks;
    chunks.read(w, tile, chunk, lane);
    add(w, chunks, chunk);
  }

  // `chunk`: the first.
  template <int kCount>
  __device__ void add(const Int4TilesView& w, const Chunks<Kind, kCount>& chunks, int chunk) {
    GroupSums<T, Kind::kZero, kBlocks, kTiles> group;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int column = 64 * i + 32 * h;  // Of those at hand.
        if (Kind::kHalves && 64 * chunk + column >= w.k) continue;
        uint4 right[kBlocks];
#pragma unroll
        for (int b = 0; b < kBlocks; ++b)
          right[b] = *reinterpret_cast<const uint4*>(x[b] + 64 * chunk + column);
        constexpr int kColumns = Kind::kColumns;
        const auto& own = chunks.scales[column / kColumns];
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          const uint4 words = chunks.words[i][t];
          unsigned a[2][4];
          bare_word<T, Kind::kZero>(h == 0 ? words.x : words.z, own[t].zero, a[0]);
          bare_word<T, Kind::kZero>(h == 0 ? words.y : words.w, own[t].zero, a[1]);
#pragma unroll
          for (int b = 0; b < kBlocks; ++b) {
            multiply<T>(group.products[t][b], a[0], right[b].x, right[b].y);
            multiply<T>(group.products[t][b], a[1], right[b].z, right[b].w);
          }
        }
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) group.add_ones(b, right[b]);
        if ((column + 32) % kColumns == 0 || column + 32 == 64 * kCount) {
#pragma unroll
          for (int t = 0; t < kTiles; ++t) group.add_to(c[t], t, own[t]);
          group = {};
        }
      }
    }
  }
};

// A block has `units` times kTiles tiles, each shared by `parts` warps that lie along K.
template <typename Kind>
__global__ void __launch_bounds__(32 * Kind::kWarps, Kind::kBlocksPerProcessor)
    int4_product(Int4TilesView w, OperandView x, bool rounds_before_bias, EpilogueArgs args,
                 int units, int parts) {
  using T = typename Kind::T;
  constexpr int kTileSums = Kind::kBlocks * 128;
  constexpr int kTiles = Kind::kTiles;
  extern __shared__ float sums[];  // [warp][tile][kBlocks * 4][lane]
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int part = warp % parts;
  const std::int64_t first_tile = static_cast<std::int64_t>(blockIdx.x) * units * kTiles;
  const std::int64_t tile = first_tile + warp / parts * kTiles;
  WarpProduct<Kind> product(x, lane);
  // Pairs of chunks, which groups of 128 columns are, stay together.
  const int pairs = static_cast<int>(w.chunks + 1) / 2;
  int chunk = pairs * part / parts * 2;
  const int end = min(pairs * (part + 1) / parts * 2, static_cast<int>(w.chunks));
  // The first codes are on their way while the kernel before still runs.
  const bool has_steps = tile < w.tiles && chunk + Kind::kUnroll <= end;
  Chunks<Kind, Kind::kUnroll> chunks;
  if (has_steps) chunks.read(w, tile, chunk, lane);
  wait_for_previous();
  if (tile < w.tiles) {
    if (has_steps) {
      product.add(w, chunks, chunk);
      chunk += Kind::kUnroll;
    }
#pragma unroll 1
    for (; chunk + Kind::kUnroll <= end; chunk += Kind::kUnroll)
      product.template step<Kind::kUnroll>(w, tile, chunk, lane);
#pragma unroll 1
    for (; chunk < end; ++chunk) product.template step<1>(w, tile, chunk, lane);
  }
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int i = 0; i < Kind::kBlocks * 4; ++i)
      sums[(warp * kTiles + t) * kTileSums + i * 32 + lane] = product.c[t][i / 4][i % 4];
  }
  __syncthreads();
  // The parts of a tile in their order, whatever the order in which warps came to an end.
#pragma unroll 1
  for (int at = threadIdx.x; at < units * kTiles * kTileSums; at += blockDim.x) {
    const int of_block = at / kTileSums;
    const int i = at % kTileSums;  // [block][register][lane]
    const int owner = i % 32;
    const int reg = i / 32 % 4;
    const std::int64_t m = i / 128 * 8 + owner % 4 * 2 + reg % 2;
    const std::int64_t n = (first_tile + of_block) * 16 + owner / 4 + reg / 2 * 8;
    if (m >= x.rows || n >= w.n) continue;
    const float* first =
        sums + (of_block / kTiles * parts * kTiles + of_block % kTiles) * kTileSums + i;
    float v = 0.0f;
#pragma unroll 4
    for (int p = 0; p < parts; ++p) v += first[p * kTiles * kTileSums];
    if (args.bias != nullptr) {
      if (rounds_before_bias) v = to_float(from_float<T>(v));
      v += to_float(static_cast<const T*>(args.bias)[n]);
    }
    static_cast<T*>(args.y)[m * args.y_stride + n] = from_float<T>(v);
  }
}

/// How the warps of a product lie: blocks of `units` pieces of N, each shared by `parts` warps.
struct Layout {
  int units = 1;
  int parts = 1;
};

// The one that gives all processors the same share of N, most nearly, and then the most warps. A
// processor has room for `room` warps. Parts are powers of two, so that chunks come in whole steps.
Layout choose_layout(std::int64_t pieces, std::int64_t chunks, int processors, int warps,
                     int room) {
  Layout best;
  double best_share = 0;
  for (int units = 1; units <= warps; ++units) {
    const std::int64_t blocks = (pieces + units - 1) / units;
    const std::int64_t each = (blocks + processors - 1) / processors;
    const std::int64_t at_once = min(each, static_cast<std::int64_t>(room / units));
    int parts = 1;
    while (2 * parts * units <= warps && 2 * parts * units * at_once <= room &&
           4 * parts <= chunks + 1) {
      parts *= 2;
    }
    const double even =
        static_cast<double>(pieces) / static_cast<double>(each * units * processors);
    const double filled = static_cast<double>(at_once * units * parts) / room;
    const double share = even * min(filled + 0.25, 1.0);  // Three quarters are nearly as good.
    if (share > best_share) {
      best_share = share;
      best = {units, parts};
    }
  }
  return best;
}

template <typename Kind>
void launch_kind(const Int4TilesView& w, const OperandView& x, bool rounds_before_bias,
                 const EpilogueArgs& args, int processors, cudaStream_t on) {
  const std::int64_t pieces = (w.tiles + Kind::kTiles - 1) / Kind::kTiles;
  const Layout layout = choose_layout(pieces, w.chunks, processors, Kind::kWarps,
                                      Kind::kWarps * Kind::kBlocksPerProcessor);
  const auto blocks = static_cast<unsigned>((pieces + layout.units - 1) / layout.units);
  const int warps = layout.units * layout.parts;
  const int bytes = warps * Kind::kTiles * Kind::kBlocks * 512;
  const auto kernel = int4_product<Kind>;
  if (bytes > 48 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  launch_early(kernel, blocks, 32 * warps, bytes, on, w, x, rounds_before_bias, args, layout.units,
               layout.parts);
}

template <typename T, ZeroPointDomain kZero, int kBlocks>
void launch(const Int4TilesView& w, const OperandView& x, bool rounds_before_bias,
            const EpilogueArgs& args, int processors, cudaStream_t on) {
  const auto with_columns = [&]<int kColumns>() {
    launch_kind<ProductKind<T, kZero, kBlocks, kColumns>>(w, x, rounds_before_bias, args,
                                                          processors, on);
  };
  if (w.group_shift == 5) return with_columns.template operator()<32>();
  if (w.group_shift == 6) return with_columns.template operator()<64>();
  with_columns.template operator()<128>();
}

}  // namespace

void launch_int4(const Int4TilesView& weight, const OperandView& x, const Epilogue& epilogue,
                 const EpilogueArgs& args, int processors, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool rounds = epilogue.rounds_before_bias;
  with_kinds(weight, [&]<typename T, ZeroPointDomain kZero>() {
    if (x.rows <= 8) {
      launch<T, kZero, 1>(weight, x, rounds, args, processors, on);
    } else if (x.rows <= 16) {
      launch<T, kZero, 2>(weight, x, rounds, args, processors, on);
    } else {
      launch<T, kZero, 4>(weight, x, rounds, args, processors, on);
    }
  });
}

}  // namespace torchao_cpp::cuda
