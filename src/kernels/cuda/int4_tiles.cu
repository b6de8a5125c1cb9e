// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/int4_tiles.h"
#include "kernels/cuda/rounding.cuh"

#if __CUDA_ARCH__ < 800
#pragma nv_diag_suppress 177  // What those architectures have no use for.
#endif

namespace torchao_cpp::cuda {
namespace {

/// Chunks of a warp in shared memory, all but one of them on their way there.
constexpr int kStages = 8;
/// Chunks that a warp of int4_values takes.
constexpr int kChunksAtOnce = 4;

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

/// The four registers of a left operand from one word: values rounded as the dequantized weight is.
template <typename T, ZeroPointDomain kZero>
__device__ void dequantize_word(unsigned word, const Scales& scales, unsigned (&a)[4]) {
#if __CUDA_ARCH__ >= 800  // Older ones have no arithmetic of bfloat16; supports() keeps them away.
  using P = Pair<T>;
  using Type = typename P::Type;
  const Type scale_pair = pair_of<Type>(scales.scale);
  const Type zero_pair = pair_of<Type>(scales.zero);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const T own_scale = i % 2 == 0 ? scale_pair.x : scale_pair.y;
    const T own_zero = i % 2 == 0 ? zero_pair.x : zero_pair.y;
    const Type stored = pair_of<Type>(((word >> (4 * i)) & 0x000f000fu) | P::kMagic);
    if constexpr (kZero == ZeroPointDomain::kInt) {
      a[i] = bits_of(__hmul2(__hsub2(stored, P::twice(own_zero)), P::twice(own_scale)));
    } else if constexpr (kZero == ZeroPointDomain::kFloat) {
      a[i] = bits_of(
          __hfma2(__hsub2(stored, P::of(P::kOffset)), P::twice(own_scale), P::twice(own_zero)));
    } else {
      a[i] = bits_of(__hmul2(__hsub2(stored, P::of(P::kOffset)), P::twice(own_scale)));
    }
  }
#endif
}

/// The four registers of a left operand from one word: bare codes, of which what is the same for all
/// of a row comes off later or, as an exact difference, here.
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
      a[i] = bits_of(__hsub2(pair_of<Type>(a[i]),
                             P::twice(i % 2 == 0 ? zero_pair.x : zero_pair.y)));
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
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
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
template <typename T, ZeroPointDomain kZero, int kBlocks>
struct GroupSums {
  float products[kBlocks][4] = {};
  float ones[kBlocks][4] = {};

  __device__ void add(int b, const unsigned (&a)[4], unsigned b0, unsigned b1) {
    multiply<T>(products[b], a, b0, b1);
    if constexpr (kZero == ZeroPointDomain::kFloat) {
      const unsigned one = bits_of(Pair<T>::of(1.0f));
      const unsigned row[4] = {one, one, one, one};
      multiply<T>(ones[b], row, b0, b1);
    }
  }

  __device__ void add_to(float (&c)[kBlocks][4], const Scales& s) const {
    const RowFactors<T, kZero> factors(s);
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        c[b][i] = fmaf(factors.scale[i / 2], products[b][i], c[b][i]);
        if constexpr (kZero == ZeroPointDomain::kFloat)
          c[b][i] = fmaf(factors.of_sum[i / 2], ones[b][i], c[b][i]);
      }
    }
  }
};

// Once and from end to end: past the first-level cache, which holds x.
__device__ uint4 read_once(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

/// What a lane holds of one chunk.
struct Chunk {
  uint4 words;
  Scales scales[2];
};

template <typename T, ZeroPointDomain kZero>
__device__ Chunk read_chunk(const Int4TilesView& w, std::int64_t tile, std::int64_t chunk,
                            int lane) {
  Chunk out;
  out.words =
      read_once(reinterpret_cast<const uint4*>(w.codes) + (tile * w.chunks + chunk) * 32 + lane);
  out.scales[0] = read_scales<T, kZero>(w, tile, 64 * chunk, lane / 4);
  out.scales[1] = read_scales<T, kZero>(w, tile, 64 * chunk + 32, lane / 4);
  return out;
}

__device__ void copy_async(void* shared, const void* global) {
#if __CUDA_ARCH__ >= 800
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
#endif
}

/// A chunk in shared memory.
struct alignas(16) Stage {
  uint4 words[32];
  unsigned scale[2][8];  ///< Of each half of the columns.
  unsigned zero[2][8];
};

/// The chunks of one warp on their way through its stages. A lane copies its words, and of scales
/// and zero points 16 bytes of one half: lanes 0 to 3 those of scales, 4 to 7 those of zero points.
template <ZeroPointDomain kZero>
struct ChunkStream {
  Stage* stages;
  const uint4* words;
  const uint4* scales;
  unsigned* scales_to;  ///< In the first stage.
  int half_column;
  int group_shift;
  int lane;

  __device__ ChunkStream(const Int4TilesView& w, Stage* stages, std::int64_t tile, int lane)
      : stages(stages),
        words(reinterpret_cast<const uint4*>(w.codes) + tile * w.chunks * 32 + lane),
        scales(static_cast<const uint4*>(lane < 4 ? w.scale : w.zero) + tile * w.groups * 2 +
               lane % 2),
        scales_to((lane < 4 ? stages->scale : stages->zero)[lane / 2 % 2] + lane % 2 * 4),
        half_column(lane / 2 % 2 * 32),
        group_shift(w.group_shift),
        lane(lane) {}

  // Starts copying a chunk; always ends a group of copies.
  __device__ void start(int chunk, int end, int stage) const {
    if (chunk < end) {
      copy_async(&stages[stage].words[lane], words + chunk * 32);
      if (lane < (kZero == ZeroPointDomain::kNone ? 4 : 8)) {
        copy_async(scales_to + stage * (sizeof(Stage) / sizeof(unsigned)),
                   scales + ((64 * chunk + half_column) >> group_shift) * 2);
      }
    }
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }

  // Waits for the oldest.
  __device__ void wait() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
#endif
    __syncwarp();
  }
};

/// Eight columns of each row of x for both halves of a chunk.
template <int kBlocks>
struct RightOperand {
  uint4 words[2][kBlocks];

  template <typename T>
  __device__ void load(const T* const (&left)[kBlocks], int chunk, int own, std::int64_t stride) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int column = 64 * chunk + 32 * h;
#pragma unroll
      for (int b = 0; b < kBlocks; ++b) {
        words[h][b] = make_uint4(0, 0, 0, 0);
        if (left[b] != nullptr && column + own < stride)
          words[h][b] = *reinterpret_cast<const uint4*>(left[b] + column);
      }
    }
  }
};

// Blocks that a processor holds at once, for their registers.
constexpr int blocks_per_processor(int row_blocks) { return row_blocks == 1 ? 2 : 1; }

// A block has `tiles` tiles, each shared by `parts` warps that lie along K. kBlocks: of 8 rows of
// x. kHalves: the halves of a chunk are groups of their own.
template <typename T, ZeroPointDomain kZero, int kBlocks, int kWarps, bool kHalves>
__global__ void __launch_bounds__(32 * kWarps, blocks_per_processor(kBlocks))
    int4_product(Int4TilesView w, OperandView x, bool rounds_before_bias, EpilogueArgs args,
                 int tiles, int parts) {
  extern __shared__ uint4 shared[];  // Stages; then sums, [warp][kBlocks * 4][lane].
  auto* sums = reinterpret_cast<float*>(shared);
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  const int part = warp % parts;
  const std::int64_t tile = static_cast<std::int64_t>(blockIdx.x) * tiles + warp / parts;
  float c[kBlocks][4] = {};
  if (tile < w.tiles) {
    const int begin = static_cast<int>(w.chunks * part / parts);
    const int end = static_cast<int>(w.chunks * (part + 1) / parts);
    const int own = 8 * (lane % 4);
    const T* left[kBlocks];
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const std::int64_t m = 8 * b + lane / 4;
      left[b] = m < x.rows ? static_cast<const T*>(x.data) + m * x.stride + own : nullptr;
    }
    const ChunkStream<kZero> stream(w, reinterpret_cast<Stage*>(shared) + warp * kStages, tile,
                                    lane);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) stream.start(begin + i, end, i);
    RightOperand<kBlocks> next;
    next.template load<T>(left, begin, own, x.stride);
    int stage = 0;
#pragma unroll 1
    for (int chunk = begin; chunk < end; ++chunk) {
      stream.wait();
      const Stage& now = stream.stages[stage];
      const uint4 codes = now.words[lane];
      Scales scales[2];
#pragma unroll
      for (int h = 0; h < (kHalves ? 2 : 1); ++h)
        scales[h] = {now.scale[h][lane / 4],
                     kZero == ZeroPointDomain::kNone ? 0 : now.zero[h][lane / 4]};
      // The stage of the chunk before, which every lane has read by now.
      stream.start(chunk + kStages - 1, end, (stage + kStages - 1) % kStages);
      stage = (stage + 1) % kStages;
      const RightOperand<kBlocks> right = next;
      if (chunk + 1 < end) next.template load<T>(left, chunk + 1, own, x.stride);
      const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
      for (int group = 0; group < (kHalves ? 2 : 1); ++group) {
        GroupSums<T, kZero, kBlocks> sums_of_group;
#pragma unroll
        for (int word = 0; word < (kHalves ? 2 : 4); ++word) {
          const int at_word = 2 * group + word;
          unsigned a[4];
          bare_word<T, kZero>(words[at_word], scales[group].zero, a);
#pragma unroll
          for (int b = 0; b < kBlocks; ++b) {
            const uint4 x8 = right.words[at_word / 2][b];
            sums_of_group.add(b, a, at_word % 2 == 0 ? x8.x : x8.z,
                              at_word % 2 == 0 ? x8.y : x8.w);
          }
        }
        sums_of_group.add_to(c, scales[group]);
      }
    }
  }
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
  __syncthreads();  // Sums take the place of the stages.
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      sums[(warp * kBlocks * 4 + b * 4 + i) * 32 + lane] = c[b][i];
  }
  __syncthreads();
  // The parts of a tile in their order, whatever the order in which warps came to an end.
  constexpr int kTileSums = kBlocks * 128;
#pragma unroll 1
  for (int at = threadIdx.x; at < tiles * kTileSums; at += blockDim.x) {
    const int of_tile = at / kTileSums;
    const int i = at % kTileSums;  // [block][register][lane]
    float v = 0.0f;
    for (int p = 0; p < parts; ++p) v += sums[(of_tile * parts + p) * kTileSums + i];
    const int owner = i % 32;
    const int reg = i / 32 % 4;
    const std::int64_t m = i / 128 * 8 + owner % 4 * 2 + reg % 2;
    const std::int64_t n =
        (static_cast<std::int64_t>(blockIdx.x) * tiles + of_tile) * 16 + owner / 4 + reg / 2 * 8;
    if (m >= x.rows || n >= w.n) continue;
    if (args.bias != nullptr) {
      if (rounds_before_bias) v = to_float(from_float<T>(v));
      v += to_float(static_cast<const T*>(args.bias)[n]);
    }
    static_cast<T*>(args.y)[m * args.y_stride + n] = from_float<T>(v);
  }
}

// A warp takes some chunks.
template <typename T, ZeroPointDomain kZero>
__global__ void __launch_bounds__(128)
    int4_values(Int4TilesView w, std::int64_t n0, std::int64_t rows, std::int64_t stride, T* out) {
  const int lane = threadIdx.x % 32;
  const std::int64_t first =
      (static_cast<std::int64_t>(blockIdx.y) * 4 + threadIdx.x / 32) * kChunksAtOnce;
  const std::int64_t tile = n0 / 16 + blockIdx.x;
  Chunk chunks[kChunksAtOnce];
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) {
    if (first + i < w.chunks) chunks[i] = read_chunk<T, kZero>(w, tile, first + i, lane);
  }
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) {
    if (first + i >= w.chunks) break;
    const uint4 codes = chunks[i].words;
    const unsigned words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::int64_t column = 64 * (first + i) + 32 * h + 8 * (lane % 4);
      if (column >= stride) continue;
      unsigned a[2][4];
      dequantize_word<T, kZero>(words[2 * h], chunks[i].scales[h], a[0]);
      dequantize_word<T, kZero>(words[2 * h + 1], chunks[i].scales[h], a[1]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * 16 + lane / 4 + 8 * half;
        if (row >= rows) continue;
        *reinterpret_cast<uint4*>(out + row * stride + column) =
            make_uint4(a[0][half], a[0][half + 2], a[1][half], a[1][half + 2]);
      }
    }
  }
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

/// How the warps of a product lie: blocks of `tiles` tiles, each shared by `parts` warps.
struct Layout {
  int tiles = 1;
  int parts = 1;
};

// The one that gives all processors the same number of tiles, most nearly, and then the most warps.
// A processor has room for `room` warps.
Layout choose_layout(const Int4TilesView& w, int processors, int warps, int room) {
  Layout best;
  double best_share = 0;
  for (int tiles = 1; tiles <= warps; ++tiles) {
    const std::int64_t blocks = (w.tiles + tiles - 1) / tiles;
    const std::int64_t each = (blocks + processors - 1) / processors;
    const std::int64_t at_once = min(each, static_cast<std::int64_t>(max(room / tiles, 1)));
    const auto parts = static_cast<int>(
        min(min(static_cast<std::int64_t>(warps / tiles), room / (tiles * at_once)), w.chunks));
    if (parts < 1) continue;
    const double even = static_cast<double>(w.tiles) / static_cast<double>(each * tiles * processors);
    const double filled = static_cast<double>(at_once * tiles * parts) / room;
    const double share = even * min(filled + 0.25, 1.0);  // Three quarters are nearly as good.
    if (share > best_share) {
      best_share = share;
      best = {tiles, parts};
    }
  }
  return best;
}

template <typename T, ZeroPointDomain kZero, int kBlocks, int kWarps, bool kHalves>
void launch_kernel(const Int4TilesView& w, const OperandView& x, bool rounds_before_bias,
                   const EpilogueArgs& args, int processors, cudaStream_t on) {
  const Layout layout =
      choose_layout(w, processors, kWarps, kWarps * blocks_per_processor(kBlocks));
  const auto blocks = static_cast<unsigned>((w.tiles + layout.tiles - 1) / layout.tiles);
  const int warps = layout.tiles * layout.parts;
  const int bytes = warps * max(static_cast<int>(kStages * sizeof(Stage)), kBlocks * 512);
  const auto kernel = int4_product<T, kZero, kBlocks, kWarps, kHalves>;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  kernel<<<blocks, 32 * warps, bytes, on>>>(w, x, rounds_before_bias, args, layout.tiles,
                                            layout.parts);
}

template <typename T, ZeroPointDomain kZero, int kBlocks, int kWarps>
void launch(const Int4TilesView& w, const OperandView& x, bool rounds_before_bias,
            const EpilogueArgs& args, int processors, cudaStream_t on) {
  if (w.group_shift < 6) {
    launch_kernel<T, kZero, kBlocks, kWarps, true>(w, x, rounds_before_bias, args, processors, on);
  } else {
    launch_kernel<T, kZero, kBlocks, kWarps, false>(w, x, rounds_before_bias, args, processors, on);
  }
}

}  // namespace

void launch_int4(const Int4TilesView& weight, const OperandView& x, const Epilogue& epilogue,
                 const EpilogueArgs& args, int processors, void* stream) noexcept {
  const auto on = static_cast<cudaStream_t>(stream);
  const bool rounds = epilogue.rounds_before_bias;
  with_kinds(weight, [&]<typename T, ZeroPointDomain kZero>() {
    if (x.rows <= 8) {
      launch<T, kZero, 1, 16>(weight, x, rounds, args, processors, on);
    } else if (x.rows <= 16) {
      launch<T, kZero, 2, 16>(weight, x, rounds, args, processors, on);
    } else {
      launch<T, kZero, 4, 16>(weight, x, rounds, args, processors, on);
    }
  });
}

void launch_int4_dequantize(const Int4TilesView& weight, std::int64_t n0, std::int64_t rows,
                            std::int64_t stride, void* out, void* stream) noexcept {
  const dim3 grid(
      static_cast<unsigned>((rows + 15) / 16),
      static_cast<unsigned>((weight.chunks + 4 * kChunksAtOnce - 1) / (4 * kChunksAtOnce)));
  with_kinds(weight, [&]<typename T, ZeroPointDomain kZero>() {
    int4_values<T, kZero><<<grid, 128, 0, static_cast<cudaStream_t>(stream)>>>(
        weight, n0, rows, stride, static_cast<T*>(out));
  });
}

}  // namespace torchao_cpp::cuda
