// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_ops.h"

#include <algorithm>
#include <cstring>

#include "base/parallel.h"
#include "kernels/decoder_ops/decoder_kernels.h"

namespace torchao_cpp {
namespace {

// Elements below which waking another thread costs more than it saves.
constexpr std::int64_t kGrainElements = 16384;

std::int64_t grain_rows(std::int64_t cols) {
  return std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, cols));
}

/// One token's heads to the queries and the cache.
struct QkvStep {
  const HeadTransform& t;
  const RotaryEmbedding* rope;
  const QkvRows& qkv;
  std::span<const TokenPlace> places;
  std::int64_t layer;
  float* q_out;
  const RowKernels& kernels;
  std::int64_t element_bytes;

  void row(std::int64_t r) const noexcept {
    const TokenPlace place = places[static_cast<std::size_t>(r)];
    for (std::int64_t h = 0; h < t.num_heads; ++h) {
      turn(head_of(qkv.q, r, h), t.q_norm, place.position,
           q_out + (r * t.num_heads + h) * t.head_dim);
    }
    for (std::int64_t h = 0; h < t.num_kv_heads; ++h) {
      std::byte* keys = place.cache->keys(layer, h) +
                        place.position / kKeyBlock * kKeyBlock * t.head_dim * element_bytes;
      float head[kMaxHeadDim];
      turn(head_of(qkv.k, r, h), t.k_norm, place.position, head);
      element_bytes == 4 ? store_key<float>(head, place.position, keys)
                         : store_key<std::uint16_t>(head, place.position, keys);
      std::memcpy(place.cache->values(layer, h) + place.position * t.head_dim * element_bytes,
                  head_of(qkv.v, r, h), static_cast<std::size_t>(t.head_dim * element_bytes));
    }
  }

  const std::byte* head_of(const RowView& view, std::int64_t r, std::int64_t h) const noexcept {
    return view.data + (r * view.row_stride + h * t.head_dim) * element_bytes;
  }

  void turn(const std::byte* x, const Tensor& norm, std::int64_t position,
            float* out) const noexcept {
    kernels.turn_head(x, norm.defined() ? norm.bytes() : nullptr, t.eps,
                      t.rotates ? rope->cos(position) : nullptr,
                      t.rotates ? rope->sin(position) : nullptr, t.head_dim, out);
  }

  // A column of the block [head_dim, kKeyBlock].
  template <typename Storage>
  void store_key(const float* head, std::int64_t position, std::byte* block) const noexcept {
    Storage narrow[kMaxHeadDim];
    kernels.narrow(head, t.head_dim, narrow);
    auto* column = reinterpret_cast<Storage*>(block) + position % kKeyBlock;
    for (std::int64_t i = 0; i < t.head_dim; ++i) column[i * kKeyBlock] = narrow[i];
  }
};

}  // namespace

void rms_norm(const Tensor& weight, float eps, const void* x, std::int64_t rows, void* y) noexcept {
  const std::int64_t n = weight.numel();
  const std::int64_t row_bytes = n * dtype_size_bytes(weight.dtype());
  const RowKernels& kernels = row_kernels(weight.dtype());
  parallel_for(rows, grain_rows(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels.rms_norm(static_cast<const std::byte*>(x) + r * row_bytes, weight.bytes(), n, eps,
                       static_cast<std::byte*>(y) + r * row_bytes);
    }
  });
}

void layer_norm(DType dtype, const NormWeights& norm, float eps, const void* x, std::int64_t rows,
                std::int64_t n, void* y) noexcept {
  const std::int64_t row_bytes = n * dtype_size_bytes(dtype);
  const std::byte* weight = norm.weight.defined() ? norm.weight.bytes() : nullptr;
  const std::byte* bias = norm.bias.defined() ? norm.bias.bytes() : nullptr;
  const RowKernels& kernels = row_kernels(dtype);
  parallel_for(rows, grain_rows(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels.layer_norm(static_cast<const std::byte*>(x) + r * row_bytes, weight, bias, n, eps,
                         static_cast<std::byte*>(y) + r * row_bytes);
    }
  });
}

void relu_in_place(DType dtype, void* x, std::int64_t n) noexcept {
  const std::int64_t size = dtype_size_bytes(dtype);
  const RowKernels& kernels = row_kernels(dtype);
  parallel_for(n, kGrainElements, [&](std::int64_t begin, std::int64_t end) {
    kernels.relu(static_cast<std::byte*>(x) + begin * size, end - begin);
  });
}

void add_in_place(DType dtype, void* x, const void* y, std::int64_t n) noexcept {
  const std::int64_t size = dtype_size_bytes(dtype);
  const RowKernels& kernels = row_kernels(dtype);
  parallel_for(n, kGrainElements, [&](std::int64_t begin, std::int64_t end) {
    kernels.add(static_cast<std::byte*>(x) + begin * size,
                static_cast<const std::byte*>(y) + begin * size, end - begin);
  });
}

void silu_mul(DType dtype, RowView gate, RowView up, std::int64_t rows, std::int64_t cols,
              void* out) noexcept {
  const std::int64_t size = dtype_size_bytes(dtype);
  const RowKernels& kernels = row_kernels(dtype);
  parallel_for(rows, grain_rows(cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      kernels.silu_mul(gate.data + r * gate.row_stride * size, up.data + r * up.row_stride * size,
                       cols, static_cast<std::byte*>(out) + r * cols * size);
    }
  });
}

void transform_qkv(const HeadTransform& transform, const RotaryEmbedding* rope, const QkvRows& qkv,
                   std::span<const TokenPlace> places, std::int64_t layer, float* q_out) noexcept {
  if (places.empty()) return;
  const DType dtype = places[0].cache->dtype();
  const QkvStep step{
      transform, rope, qkv, places, layer, q_out, row_kernels(dtype), dtype_size_bytes(dtype)};
  const std::int64_t cols = (transform.num_heads + transform.num_kv_heads) * transform.head_dim;
  const auto rows = static_cast<std::int64_t>(places.size());
  parallel_for(rows, grain_rows(cols), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) step.row(r);
  });
}

void add_positions(const Tensor& table, std::int64_t offset, std::span<const TokenPlace> places,
                   void* hidden) noexcept {
  const std::int64_t n = table.size(1);
  const std::int64_t row_bytes = n * dtype_size_bytes(table.dtype());
  const RowKernels& kernels = row_kernels(table.dtype());
  const auto rows = static_cast<std::int64_t>(places.size());
  parallel_for(rows, grain_rows(n), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t row = places[static_cast<std::size_t>(r)].position + offset;
      kernels.add(static_cast<std::byte*>(hidden) + r * row_bytes, table.bytes() + row * row_bytes,
                  n);
    }
  });
}

float largest_logit(std::span<const float> logits) noexcept {
  return logit_kernels().largest(logits.data(), static_cast<std::int64_t>(logits.size()));
}

void logit_weights(std::span<const float> logits, float largest, double temperature,
                   float* out) noexcept {
  logit_kernels().weights(logits.data(), static_cast<std::int64_t>(logits.size()), largest,
                          static_cast<float>(1.0 / temperature), out);
}

void widen(DType dtype, const void* x, std::int64_t n, float* out) noexcept {
  const std::int64_t size = dtype_size_bytes(dtype);
  const RowKernels& kernels = row_kernels(dtype);
  parallel_for(n, kGrainElements, [&](std::int64_t begin, std::int64_t end) {
    kernels.widen(static_cast<const std::byte*>(x) + begin * size, end - begin, out + begin);
  });
}

}  // namespace torchao_cpp
