// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>

#include "kernels/cuda/cuda_check.h"
#include "kernels/cuda/tile_wgmma.cuh"

namespace torchao_cpp::cuda {
namespace {

constexpr int kThreads = 256;
/// Blocks of a cluster, everywhere.
constexpr int kMostSplits = 8;

#ifdef TORCHAO_CPP_HAS_SM90A

// What a block takes of a multiprocessor is nearly the same for all kinds.
using LargestKind =
    WgmmaKind<TileFormat<__nv_bfloat16, TileCode::kInt4, ZeroPointDomain::kFloat, true>, 256>;

int clusters_at_once(int size) {
  WgmmaPlan plan;
  plan.splits = size;
  plan.clusters = 1;
  cudaLaunchAttribute attributes[2]{};
  cudaLaunchConfig_t config = wgmma_config<LargestKind>(plan, attributes, nullptr);
  config.numAttrs = 1;
  int count = 0;
  const auto kernel = tile_wgmma<LargestKind>;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           LargestKind::kBytes) != cudaSuccess ||
      cudaOccupancyMaxActiveClusters(&count, kernel, &config) != cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return count;
}

#endif

/// What one block takes for a chunk, in microseconds, on an otherwise idle H100 and more on a busy
/// one.
struct ChunkTime {
  int x_rows;
  double alone;
  double busy;
};
constexpr ChunkTime kChunkTimes[] = {
    {32, 0.233, 0.0}, {64, 0.265, 0.035}, {128, 0.41, 0.11}, {256, 0.58, 0.21}};

// What a plan takes on an H100, in microseconds, from a sweep over plans: until the first codes are
// there and from sums to y, what blocks that share K have of each other's sums, and the chunks, for
// which two blocks of a multiprocessor take nearly twice as long.
double time_of(const CodeTilesView& w, const WgmmaPlan& plan, int processors, int at_once) {
  constexpr double kBytesOfMicrosecond = 2.6e6;
  constexpr double kSharedRow = 0.003;
  constexpr double kBesideAnother = 1.8;
  const ChunkTime& time =
      *std::find_if(std::begin(kChunkTimes), std::end(kChunkTimes),
                    [&](const ChunkTime& t) { return t.x_rows == plan.x_rows; });
  const int waves = (plan.items + at_once - 1) / at_once;
  const double load = std::min(
      1.0, static_cast<double>(plan.items) * plan.splits * plan.pairs / (waves * processors));
  const double chunk = (time.alone + load * time.busy) *
                       (plan.is_alone || wgmma_blocks(plan.x_rows) == 1 ? 1 : kBesideAnother);
  const auto chunks = static_cast<double>((w.chunks + plan.splits - 1) / plan.splits);
  const double reading =
      static_cast<double>(w.tiles * w.chunks * w.chunk_bytes()) / kBytesOfMicrosecond;
  const double own = plan.x_rows == 256 ? 9.4 : 7.4;
  const double shared = plan.splits > 1 ? kSharedRow * plan.x_rows * plan.splits : 0;
  return own + shared + std::max(waves * chunks * chunk, reading);
}

// A thread takes 32 columns of a row.
__global__ void __launch_bounds__(kThreads)
    x_tiles(OperandView x, std::int64_t k, WgmmaPlan plan, std::int64_t chunks, uint4* out) {
  let_next_start();
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t half = unit % (2 * chunks);
  const std::int64_t m = unit / (2 * chunks);
  if (m >= std::int64_t{plan.x_tiles} * plan.x_rows) return;
  wait_for_previous();
  uint4 from[4] = {};
  if (m < x.rows && 32 * half < k) {
    const auto* row = reinterpret_cast<const uint4*>(static_cast<const std::uint16_t*>(x.data) +
                                                     m * x.stride + 32 * half);
#pragma unroll
    for (int t = 0; t < 4; ++t) from[t] = row[t];
  }
  const std::int64_t chunk = m / plan.x_rows * chunks + half / 2;
  uint4* to = out + (chunk * plan.x_rows + m % plan.x_rows) * 8;
  const auto piece = [&](int i) { return (4 * (half % 2) + i) ^ (m % 8); };
  to[piece(0)] = make_uint4(from[0].x, from[1].x, from[2].x, from[3].x);
  to[piece(1)] = make_uint4(from[0].y, from[1].y, from[2].y, from[3].y);
  to[piece(2)] = make_uint4(from[0].z, from[1].z, from[2].z, from[3].z);
  to[piece(3)] = make_uint4(from[0].w, from[1].w, from[2].w, from[3].w);
}

}  // namespace

WgmmaDevice wgmma_device([[maybe_unused]] int index) noexcept {
  WgmmaDevice device;
#ifdef TORCHAO_CPP_HAS_SM90A
  if (cuda_capability(index) != 90) return device;
  const CudaDeviceGuard guard(index);
  device.processors = cuda_processor_count(index);
  for (int size = 1; size <= kMostSplits; ++size) device.clusters[size] = clusters_at_once(size);
  device.has_wgmma = device.clusters[2] > 0;
#endif
  return device;
}

WgmmaPlan plan_wgmma(const CodeTilesView& w, std::int64_t rows,
                     const WgmmaDevice& device) noexcept {
  const auto n_blocks = static_cast<int>((w.n + kBlockRows - 1) / kBlockRows);
  WgmmaPlan best;
  double best_time = 0;
  for (int x_rows = 32; x_rows <= 256; x_rows *= 2) {
    for (int splits = 1; splits <= (wgmma_shares_k(x_rows) ? kMostSplits : 1); ++splits) {
      WgmmaPlan plan;
      plan.x_rows = x_rows;
      plan.x_tiles = static_cast<int>((rows + x_rows - 1) / x_rows);
      plan.stages = static_cast<int>((w.chunks + wgmma_chunks(x_rows) - 1) / wgmma_chunks(x_rows));
      plan.splits = splits;
      plan.pairs = splits == 1 && n_blocks > 1 ? 2 : 1;
      plan.items = (n_blocks + plan.pairs - 1) / plan.pairs * plan.x_tiles;
      const int alone = device.clusters[splits * plan.pairs];
      plan.is_alone = plan.items <= alone;
      const int at_once = plan.is_alone ? alone : alone * wgmma_blocks(x_rows);
      // Blocks that share K wait for each other, those that start copies too: one item is all they
      // take.
      const bool may_split = plan.items <= at_once && plan.stages >= 2 * splits;
      if (at_once == 0 || (splits > 1 && !may_split)) continue;
      plan.clusters = min(plan.items, at_once);
      const double time = time_of(w, plan, device.processors, at_once);
      if (best.x_rows != 0 && time >= best_time) continue;
      best = plan;
      best_time = time;
    }
  }
  return best;
}

void launch_x_tiles(const OperandView& x, std::int64_t k, const WgmmaPlan& plan, void* out,
                    void* stream) noexcept {
  const std::int64_t chunks = std::int64_t{plan.stages} * wgmma_chunks(plan.x_rows);
  const std::int64_t units = std::int64_t{plan.x_tiles} * plan.x_rows * 2 * chunks;
  launch_beside(x_tiles, static_cast<unsigned>((units + kThreads - 1) / kThreads), kThreads, 0,
                static_cast<cudaStream_t>(stream), x, k, plan, chunks, static_cast<uint4*>(out));
}

}  // namespace torchao_cpp::cuda
