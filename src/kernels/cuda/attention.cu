// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/attention.cuh"

namespace torchao_cpp::cuda {
namespace {

constexpr int kWarps = 8;
/// Dimensions that a lane holds: head_dim is at most 512.
constexpr int kMostDims = 16;

// A block is one head of one token: warps take every eighth key, and their sums are joined in
// order.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps) attention_any_size(AttentionArgs args) {
  extern __shared__ float shared[];  // Of each warp: head_dim sums, the largest score, the total.
  const AttentionTile tile = args.tiles[blockIdx.x];
  const int head = blockIdx.y;
  const int dim = args.head_dim;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const CacheView cache = args.caches[tile.sequence];
  const std::int64_t at = args.layer * cache.layer_stride +
                          head / (args.num_heads / args.num_kv_heads) * cache.head_stride;
  const T* keys = reinterpret_cast<const T*>(cache.keys) + at;
  const T* values = reinterpret_cast<const T*>(cache.values) + at;
  const std::int64_t row =
      (static_cast<std::int64_t>(tile.first_row) * args.num_heads + head) * dim;
  const float factor = 1.0f / sqrtf(static_cast<float>(dim));
  float q[kMostDims];
  float sums[kMostDims] = {};
#pragma unroll
  for (int i = 0; i < kMostDims; ++i) {
    const int d = 32 * i + lane;
    q[i] = d < dim ? to_float(static_cast<const T*>(args.q)[row + d]) : 0.0f;
  }
  float most = kNoScore;
  float total = 0.0f;
  for (std::int64_t key = warp; key <= tile.position; key += kWarps) {
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < kMostDims; ++i) {
      const int d = 32 * i + lane;
      if (d < dim) score = fmaf(q[i], to_float(keys[key * dim + d]), score);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
      score += __shfl_xor_sync(0xffffffffu, score, offset);
    score *= factor;
    const float now = fmaxf(most, score);
    const float kept = expf(most - now);
    const float weight = expf(score - now);
    most = now;
    total = fmaf(total, kept, weight);
#pragma unroll
    for (int i = 0; i < kMostDims; ++i) {
      const int d = 32 * i + lane;
      if (d < dim) sums[i] = fmaf(sums[i], kept, weight * to_float(values[key * dim + d]));
    }
  }
  float* own = shared + warp * (dim + 2);
#pragma unroll
  for (int i = 0; i < kMostDims; ++i) {
    const int d = 32 * i + lane;
    if (d < dim) own[d] = sums[i];
  }
  if (lane == 0) own[dim] = most, own[dim + 1] = total;
  __syncthreads();
  for (int d = threadIdx.x; d < dim; d += 32 * kWarps) {
    float largest = kNoScore;
    for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, shared[w * (dim + 2) + dim]);
    float sum = 0.0f;
    float weights = 0.0f;
    for (int w = 0; w < kWarps; ++w) {
      const float* of_warp = shared + w * (dim + 2);
      const float share = of_warp[dim] == kNoScore ? 0.0f : expf(of_warp[dim] - largest);
      sum = fmaf(of_warp[d], share, sum);
      weights = fmaf(of_warp[dim + 1], share, weights);
    }
    static_cast<T*>(args.out)[row + d] = from_float<T>(sum / weights);
  }
}

}  // namespace

AttentionKernel choose_attention(DType dtype, std::int32_t group, std::int32_t head_dim,
                                 bool is_decode, int capability) noexcept {
  constexpr int kMatrixUnits = 80;
  if (dtype == DType::kFloat32 || (head_dim != 64 && head_dim != 128) ||
      capability < kMatrixUnits || group > kPrefillRows)
    return AttentionKernel::kAnySize;
  return is_decode && group <= kDecodeRows ? AttentionKernel::kDecode : AttentionKernel::kPrefill;
}

void launch_attention(DType dtype, AttentionKernel kernel, const AttentionArgs& args,
                      void* stream) noexcept {
  if (kernel == AttentionKernel::kAnySize) {
    const dim3 grid(static_cast<unsigned>(args.tile_count), static_cast<unsigned>(args.num_heads));
    const std::size_t bytes =
        static_cast<std::size_t>(kWarps * (args.head_dim + 2)) * sizeof(float);
    with_operand_type(dtype, [&]<typename T>(T) {
      attention_any_size<T><<<grid, 32 * kWarps, bytes, static_cast<cudaStream_t>(stream)>>>(args);
    });
  } else if (dtype == DType::kBFloat16) {
    launch_attention_bfloat16(kernel, args, stream);
  } else {
    launch_attention_float16(kernel, args, stream);
  }
}

}  // namespace torchao_cpp::cuda
