// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/int4_words.cuh"

namespace torchao_cpp::cuda {
namespace {

/// Chunks that a warp of int4_values takes.
constexpr int kChunksAtOnce = 4;

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

}  // namespace

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
