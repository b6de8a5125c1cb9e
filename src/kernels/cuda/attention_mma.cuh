// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/attention_tiles.cuh"
#include "kernels/cuda/launch.cuh"

/// Attention on matrix units (mma.m16n8k16): rows are the tokens of a tile times the heads of one
/// kv head, so that keys and values are read once for all of them.
namespace torchao_cpp::cuda {
namespace {

/// What a warp knows of its 16 rows; a lane holds parts of rows g = lane / 4 and g + 8.
template <int kDim>
struct RowSums {
  float values[kDim / 8][4] = {};
  float most[2] = {kNoScore, kNoScore};  ///< Of scores in powers of two.
  float total[2] = {};                   ///< Of this lane's keys alone.

  __device__ void scale(int half, float factor) {
    total[half] *= factor;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      values[n][2 * half] *= factor;
      values[n][2 * half + 1] *= factor;
    }
  }
};

/// The rows of one tile for one kv head.
struct TileRows {
  AttentionTile tile;
  int group;
  int kv_head;

  __device__ int count() const { return tile.tokens * group; }
  __device__ int token(int row) const { return row / group; }
  // Elements from the start of q or out.
  __device__ std::int64_t offset(int row, const AttentionArgs& args) const {
    return (static_cast<std::int64_t>(tile.first_row + row / group) * args.num_heads +
            kv_head * group + row % group) *
           args.head_dim;
  }
};

template <typename T, int kDim>
__device__ void load_queries(const AttentionArgs& args, const TileRows& rows, int first,
                             unsigned (&q)[kDim / 16][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + 8 * half;
    const bool is_there = row < rows.count();
    const T* from = static_cast<const T*>(args.q) + (is_there ? rows.offset(row, args) : 0);
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      const auto* at = reinterpret_cast<const unsigned*>(from + 16 * k + 2 * (lane % 4));
      q[k][half] = is_there ? at[0] : 0;
      q[k][half + 2] = is_there ? at[4] : 0;
    }
  }
}

// Scores of kBlocks times 8 keys from row `first_key` of the tile on. Four blocks in turn, so that
// no product waits for the one before.
template <typename T, int kDim, int kBlocks>
__device__ void make_scores(unsigned keys, int first_key, const unsigned (&q)[kDim / 16][4],
                            float (&s)[kBlocks][4]) {
  constexpr int kTurn = kBlocks < 4 ? kBlocks : 4;
  const int lane = threadIdx.x % 32;
  // Rows are whole powers of two: another chunk is another bit of the address.
  const unsigned own = keys + KeyTile<T, kDim>::offset(first_key + lane % 8, lane / 8);
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[n][i] = 0.0f;
  }
#pragma unroll
  for (int first = 0; first < kBlocks; first += kTurn) {
#pragma unroll
    for (int k = 0; k < kDim / 16; k += 2) {
      unsigned b[kTurn][4];
#pragma unroll
      for (int n = 0; n < kTurn; ++n)
        load_matrices(b[n], (own ^ (2 * k * 16)) + (first + n) * 8 * KeyTile<T, kDim>::kRowBytes);
#pragma unroll
      for (int n = 0; n < kTurn; ++n) Units<T>::multiply(s[first + n], q[k], b[n][0], b[n][1]);
#pragma unroll
      for (int n = 0; n < kTurn; ++n) Units<T>::multiply(s[first + n], q[k + 1], b[n][2], b[n][3]);
    }
  }
}

// Scores become probabilities relative to the largest so far. `limit`: the last key that a row
// sees, as an index of this tile's keys from first_key on.
template <int kDim, int kBlocks>
__device__ void make_probabilities(float (&s)[kBlocks][4], const int (&limit)[2], bool is_masked,
                                   float factor, RowSums<kDim>& sums) {
  const int lane = threadIdx.x % 32;
  if (is_masked) {
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (8 * n + 2 * (lane % 4) + i % 2 > limit[i / 2]) s[n][i] = -INFINITY;
      }
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = -INFINITY;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) most = fmaxf(most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
    // Finite also for a row that sees no key yet: then every probability below is zero.
    const float now = fmaxf(sums.most[half], most * factor);
    sums.scale(half, power_of_two_of(sums.most[half] - now));
    sums.most[half] = now;
    float total = 0.0f;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        s[n][i] = power_of_two_of(fmaf(s[n][i], factor, -now));
        total += s[n][i];
      }
    }
    sums.total[half] += total;
  }
}

template <typename T, int kDim, int kBlocks>
__device__ void add_values(unsigned values, int first_key, const float (&p)[kBlocks][4],
                           RowSums<kDim>& sums) {
  const int lane = threadIdx.x % 32;
  const unsigned own = values + KeyTile<T, kDim>::offset(first_key + lane % 16, lane / 16);
#pragma unroll
  for (int j = 0; j < kBlocks / 2; ++j) {
    const unsigned a[4] = {Units<T>::pair(p[2 * j][0], p[2 * j][1]),
                           Units<T>::pair(p[2 * j][2], p[2 * j][3]),
                           Units<T>::pair(p[2 * j + 1][0], p[2 * j + 1][1]),
                           Units<T>::pair(p[2 * j + 1][2], p[2 * j + 1][3])};
#pragma unroll
    for (int n = 0; n < kDim / 8; n += 2) {
      unsigned b[4];
      load_matrices_transposed(b, (own ^ (n * 16)) + 16 * j * KeyTile<T, kDim>::kRowBytes);
      Units<T>::multiply(sums.values[n], a, b[0], b[1]);
      Units<T>::multiply(sums.values[n + 1], a, b[2], b[3]);
    }
  }
}

/// Sums of rows in memory: [row][kDim] values, then [row] largest scores, then [row] totals.
template <int kDim>
struct StoredSums {
  float* base;
  int rows;

  __device__ float* values(int row) const { return base + row * kDim; }
  __device__ float& most(int row) const { return base[rows * kDim + row]; }
  __device__ float& total(int row) const { return base[rows * (kDim + 1) + row]; }

  __device__ void put(const RowSums<kDim>& sums) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = lane / 4 + 8 * half;
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        float* to = values(row) + 8 * n + 2 * (lane % 4);
        to[0] = sums.values[n][2 * half];
        to[1] = sums.values[n][2 * half + 1];
      }
      if (lane % 4 == 0) {
        most(row) = sums.most[half];
        total(row) = sums.total[half];
      }
    }
  }
};

/// Sums of one row: four of its columns, the largest score, the total.
struct PartOfRow {
  float4 values = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  float most = kNoScore;
  float total = 0.0f;

  __device__ void add(const PartOfRow& part) {
    const float now = fmaxf(most, part.most);
    const float kept = power_of_two_of(most - now);
    const float share = power_of_two_of(part.most - now);
    values.x = fmaf(part.values.x, share, values.x * kept);
    values.y = fmaf(part.values.y, share, values.y * kept);
    values.z = fmaf(part.values.z, share, values.z * kept);
    values.w = fmaf(part.values.w, share, values.w * kept);
    total = fmaf(part.total, share, total * kept);
    most = now;
  }
};

/// `count` StoredSums of the same kDecodeRows rows, `stride` floats apart.
template <int kDim, bool kIsShared>
struct ManySums {
  const float* base;
  std::int64_t stride;
  int count;

  // What other blocks wrote lies behind the first-level cache.
  template <typename V>
  __device__ static V read(const V* at) {
    if constexpr (kIsShared) {
      return *at;
    } else {
      return __ldcg(at);
    }
  }

  __device__ PartOfRow part(int index, int row, int column) const {
    const float* own = base + index * stride;
    return {read(reinterpret_cast<const float4*>(own + row * kDim + column)),
            read(own + kDecodeRows * kDim + row), read(own + kDecodeRows * (kDim + 1) + row)};
  }

  // Joined in their order. Several are read at once, so that none waits for the one before.
  __device__ PartOfRow joined(int row, int column) const {
    constexpr int kAtOnce = 8;
    PartOfRow sum;
    for (int first = 0; first < count; first += kAtOnce) {
      PartOfRow parts[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i < count) parts[i] = part(first + i, row, column);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) sum.add(parts[i]);
    }
    return sum;
  }
};

// Totals of lanes that share a row.
template <int kDim>
__device__ void join_totals(RowSums<kDim>& sums) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sums.total[half] += __shfl_xor_sync(0xffffffffu, sums.total[half], 1);
    sums.total[half] += __shfl_xor_sync(0xffffffffu, sums.total[half], 2);
  }
}

template <typename T, int kDim>
__device__ void store_rows(const AttentionArgs& args, const TileRows& rows, int first,
                           const RowSums<kDim>& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first + lane / 4 + 8 * half;
    if (row >= rows.count()) continue;
    T* to = static_cast<T*>(args.out) + rows.offset(row, args) + 2 * (lane % 4);
    const float factor = 1.0f / sums.total[half];
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      *reinterpret_cast<unsigned*>(to + 8 * n) =
          Units<T>::pair(sums.values[n][2 * half] * factor, sums.values[n][2 * half + 1] * factor);
    }
  }
}

/// The key blocks [begin, end) for one warp: 16 rows from first_row on, of each tile of keys those
/// from first_key on, kBlocks times 8. All warps of the block call it together. Of `old_keys` keys
/// it begins to read before earlier kernels are done, for which it waits.
template <typename T, int kDim, int kBlocks>
__device__ void run_blocks(const AttentionArgs& args, const TileRows& rows, int first_row,
                           int first_key, int begin, int end, int old_keys, unsigned shared,
                           RowSums<kDim>& sums) {
  using Tile = KeyTile<T, kDim>;
  const CacheView cache = args.caches[rows.tile.sequence];
  const std::int64_t at = args.layer * cache.layer_stride + rows.kv_head * cache.head_stride;
  const T* keys = reinterpret_cast<const T*>(cache.keys) + at;
  const T* values = reinterpret_cast<const T*>(cache.values) + at;
  const int length = rows.tile.position + rows.tile.tokens;
  const float factor = 1.4426950408889634f / sqrtf(static_cast<float>(kDim));
  const auto copy = [&](int block, int stage) {
    const unsigned to = shared + stage * 2 * Tile::kBytes;
    Tile::copy(to, keys, block * kKeys, length);
    Tile::copy(to + Tile::kBytes, values, block * kKeys, length);
  };
  const bool is_old = (begin + 1) * kKeys <= old_keys;
  if (!is_old) wait_for_previous();
  if (begin < end) copy(begin, 0);
  end_copies();
  if (is_old) wait_for_previous();
  unsigned q[kDim / 16][4];
  load_queries<T, kDim>(args, rows, first_row, q);
  const int lane = threadIdx.x % 32;
  int position[2];
#pragma unroll
  for (int half = 0; half < 2; ++half)
    position[half] = rows.tile.position + rows.token(first_row + lane / 4 + 8 * half);
#pragma unroll 1
  for (int block = begin; block < end; ++block) {
    const int stage = (block - begin) % 2;
    if (block + 1 < end) copy(block + 1, 1 - stage);
    end_copies();
    wait_for_copies<1>();
    __syncthreads();
    const unsigned tile = shared + stage * 2 * Tile::kBytes;
    const int key = block * kKeys + first_key;
    const int limit[2] = {position[0] - key, position[1] - key};
    float s[kBlocks][4];
    make_scores<T, kDim, kBlocks>(tile, first_key, q, s);
    make_probabilities<kDim, kBlocks>(s, limit, (block + 1) * kKeys > rows.tile.position + 1,
                                      factor, sums);
    add_values<T, kDim, kBlocks>(tile + Tile::kBytes, first_key, s, sums);
    __syncthreads();  // Before the stage is copied to again.
  }
  wait_for_copies<0>();
}

// Four warps of 16 rows each. Long tiles first. Three blocks a processor, which their shared memory
// allows, hide each other's waits.
template <typename T, int kDim>
__global__ void __launch_bounds__(128, 3) attention_prefill(AttentionArgs args) {
  extern __shared__ __align__(kTileAlignment) uint4 memory[];
  const TileRows rows{args.tiles[gridDim.x - 1 - blockIdx.x], args.num_heads / args.num_kv_heads,
                      static_cast<int>(blockIdx.y)};
  const int first_row = threadIdx.x / 32 * 16;
  const int blocks = (rows.tile.position + rows.tile.tokens + kKeys - 1) / kKeys;
  let_next_start();
  RowSums<kDim> sums;
  run_blocks<T, kDim, kKeys / 8>(args, rows, first_row, 0, 0, blocks, 0, shared_address(memory),
                                 sums);
  join_totals(sums);
  store_rows<T, kDim>(args, rows, first_row, sums);
}

// Whether this is the last of a tile's blocks to come here, of which it then sees all they wrote.
__device__ bool is_last_of(std::uint32_t* counter, int blocks) {
  __shared__ bool is_last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(counter, 1u) + 1 == static_cast<unsigned>(blocks);
    if (is_last) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  return is_last;
}

// 16 rows; four warps share the keys of each tile, and blocks share the tiles. The last block of a
// tile of rows joins the sums of all.
template <typename T, int kDim>
__global__ void __launch_bounds__(128) attention_decode(AttentionArgs args) {
  extern __shared__ __align__(kTileAlignment) uint4 memory[];
  constexpr int kWarps = 4;
  constexpr int kFloats = kDecodeRows * (kDim + 2);
  const TileRows rows{args.tiles[blockIdx.x], args.num_heads / args.num_kv_heads,
                      static_cast<int>(blockIdx.y)};
  const int blocks = (rows.tile.position + rows.tile.tokens + kKeys - 1) / kKeys;
  const int split = blockIdx.z;
  const int warp = threadIdx.x / 32;
  const int begin = blocks * split / args.splits;
  const int end = blocks * (split + 1) / args.splits;
  let_next_start();
  RowSums<kDim> sums;
  // The one token's own key is new.
  run_blocks<T, kDim, kKeys / 8 / kWarps>(args, rows, 0, warp * (kKeys / kWarps), begin, end,
                                          rows.tile.position, shared_address(memory), sums);
  join_totals(sums);
  __syncthreads();
  auto* of_warps = reinterpret_cast<float*>(memory);
  StoredSums<kDim>{of_warps + warp * kFloats, kDecodeRows}.put(sums);
  __syncthreads();
  const int pair = blockIdx.x * args.num_kv_heads + blockIdx.y;
  // Calls fn(row, first column) for four columns at a time.
  const auto for_columns = [&](const auto& fn) {
    for (int i = threadIdx.x; i < rows.count() * (kDim / 4); i += 32 * kWarps)
      fn(i / (kDim / 4), i % (kDim / 4) * 4);
  };
  const auto finish = [&](int row, int column, const PartOfRow& sum) {
    const float factor = 1.0f / sum.total;
    auto* to =
        reinterpret_cast<uint2*>(static_cast<T*>(args.out) + rows.offset(row, args) + column);
    *to = make_uint2(Units<T>::pair(sum.values.x * factor, sum.values.y * factor),
                     Units<T>::pair(sum.values.z * factor, sum.values.w * factor));
  };
  const ManySums<kDim, true> own{of_warps, kFloats, kWarps};
  if (args.splits == 1) {
    for_columns([&](int row, int column) { finish(row, column, own.joined(row, column)); });
    return;
  }
  float* of_splits = args.partial + static_cast<std::int64_t>(pair) * args.splits * kFloats;
  const StoredSums<kDim> to{of_splits + split * kFloats, kDecodeRows};
  for_columns([&](int row, int column) {
    const PartOfRow sum = own.joined(row, column);
    *reinterpret_cast<float4*>(to.values(row) + column) = sum.values;
    if (column != 0) return;
    to.most(row) = sum.most;
    to.total(row) = sum.total;
  });
  if (!is_last_of(args.counters + pair, args.splits)) return;
  const ManySums<kDim, false> all{of_splits, kFloats, args.splits};
  for_columns([&](int row, int column) { finish(row, column, all.joined(row, column)); });
}

template <typename T, int kDim>
void launch_kernel(AttentionKernel kernel, const AttentionArgs& args, cudaStream_t on) {
  constexpr int kBytes = 4 * KeyTile<T, kDim>::kBytes;
  static_assert(kBytes >= 4 * kDecodeRows * (kDim + 2) * static_cast<int>(sizeof(float)));
  const auto launch = [&](auto function, unsigned splits) {
    cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    const dim3 grid(static_cast<unsigned>(args.tile_count),
                    static_cast<unsigned>(args.num_kv_heads), splits);
    launch_beside(function, grid, dim3(128), kBytes, on, args);
  };
  if (kernel == AttentionKernel::kDecode) {
    launch(attention_decode<T, kDim>, static_cast<unsigned>(args.splits));
  } else {
    launch(attention_prefill<T, kDim>, 1);
  }
}

template <typename T>
void launch_for(AttentionKernel kernel, const AttentionArgs& args, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  if (args.head_dim == 64) {
    launch_kernel<T, 64>(kernel, args, on);
  } else {
    launch_kernel<T, 128>(kernel, args, on);
  }
}

}  // namespace
}  // namespace torchao_cpp::cuda
