// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/tile_words.cuh"

namespace torchao_cpp::cuda {
namespace {

/// Chunks that a warp of tile_values takes.
constexpr int kChunksAtOnce = 4;

/// What a lane holds of one chunk.
template <typename Format>
struct Chunk {
  uint4 words[Format::kWords];
  Scales scales[2];

  __device__ void read(const CodeTilesView& w, std::int64_t tile, std::int64_t chunk, int lane) {
    const auto* from = reinterpret_cast<const uint4*>(w.codes) +
                       (tile * w.chunks + chunk) * (32 * Format::kWords) + lane;
#pragma unroll
    for (int v = 0; v < Format::kWords; ++v) words[v] = __ldg(from + 32 * v);
    scales[0] = read_scales<Format>(w, tile, 64 * chunk, lane / 4);
    scales[1] = read_scales<Format>(w, tile, 64 * chunk + 32, lane / 4);
  }

  // Columns 32 h + 8 t .. + 8 of rows g and g + 8.
  __device__ void values(int h, uint4 (&rows)[2]) const {
#if __CUDA_ARCH__ >= 800
    const auto* own = reinterpret_cast<const unsigned*>(words) + h * 2 * Format::kWords;
    const GroupFactors<Format> factors(scales[h]);
    unsigned a[2][4];
    dequantized_values<Format>(own, factors, a[0]);
    dequantized_values<Format>(own + Format::kWords, factors, a[1]);
#pragma unroll
    for (int half = 0; half < 2; ++half)
      rows[half] = make_uint4(a[0][half], a[0][half + 2], a[1][half], a[1][half + 2]);
#endif
  }
};

// A warp takes some chunks.
template <typename Format>
__global__ void __launch_bounds__(128)
    tile_values(CodeTilesView w, std::int64_t n0, std::int64_t rows, std::int64_t stride,
                typename Format::T* out) {
  const int lane = threadIdx.x % 32;
  const std::int64_t first =
      (static_cast<std::int64_t>(blockIdx.y) * 4 + threadIdx.x / 32) * kChunksAtOnce;
  const std::int64_t tile = n0 / 16 + blockIdx.x;
  Chunk<Format> chunks[kChunksAtOnce];
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) {
    if (first + i < w.chunks) chunks[i].read(w, tile, first + i, lane);
  }
#pragma unroll
  for (int i = 0; i < kChunksAtOnce; ++i) {
    if (first + i >= w.chunks) break;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::int64_t column = 64 * (first + i) + 32 * h + 8 * (lane % 4);
      if (column >= stride) continue;
      uint4 values[2];
      chunks[i].values(h, values);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * 16 + lane / 4 + 8 * half;
        if (row < rows) *reinterpret_cast<uint4*>(out + row * stride + column) = values[half];
      }
    }
  }
}

}  // namespace

void launch_tile_values(const CodeTilesView& weight, std::int64_t n0, std::int64_t rows,
                        std::int64_t stride, void* out, void* stream) noexcept {
  const dim3 grid(
      static_cast<unsigned>((rows + 15) / 16),
      static_cast<unsigned>((weight.chunks + 4 * kChunksAtOnce - 1) / (4 * kChunksAtOnce)));
  const auto launch = [&]<typename Format>() {
    tile_values<Format><<<grid, 128, 0, static_cast<cudaStream_t>(stream)>>>(
        weight, n0, rows, stride, static_cast<typename Format::T*>(out));
  };
  if (weight.code == TileCode::kInt4) {
    with_int4_format(weight, launch);
  } else {
    with_byte_format(weight, launch);
  }
}

}  // namespace torchao_cpp::cuda
