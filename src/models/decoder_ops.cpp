// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/parallel.h"
#include "models/element.h"

namespace torchao_cpp {
namespace {

// Elements below which waking another thread costs more than it saves.
constexpr std::int64_t kGrainElements = 16384;

std::int64_t grain_rows(std::int64_t cols) {
  return std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(1, cols));
}

// Eight partial sums: a fixed order that the compiler can vectorise.
template <typename E>
float sum_of_squares(const typename E::Storage* x, std::int64_t n) noexcept {
  constexpr std::int64_t kLanes = 8;
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) {
      const float v = E::load(x[i + j]);
      lanes[j] += v * v;
    }
  }
  for (; i < n; ++i) {
    const float v = E::load(x[i]);
    lanes[0] += v * v;
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

template <typename E>
float inverse_rms(const typename E::Storage* x, std::int64_t n, float eps) noexcept {
  return 1.0f / std::sqrt(sum_of_squares<E>(x, n) / static_cast<float>(n) + eps);
}

template <typename E>
void rms_norm_row(const typename E::Storage* x, const typename E::Storage* weight, std::int64_t n,
                  float eps, typename E::Storage* y) noexcept {
  const float scale = inverse_rms<E>(x, n, eps);
  for (std::int64_t i = 0; i < n; ++i)
    y[i] = E::store(E::load(weight[i]) * rounded<E>(E::load(x[i]) * scale));
}

// One head to float32 values of the compute dtype: norm if there is a weight, then the rotation.
template <typename E>
void transform_head(const typename E::Storage* x, const Tensor& norm, float eps, const float* cos,
                    const float* sin, std::int64_t head_dim, float* out) noexcept {
  if (norm.defined()) {
    const auto* weight = norm.data<typename E::Storage>();
    const float scale = inverse_rms<E>(x, head_dim, eps);
    for (std::int64_t i = 0; i < head_dim; ++i)
      out[i] = rounded<E>(E::load(weight[i]) * rounded<E>(E::load(x[i]) * scale));
  } else {
    for (std::int64_t i = 0; i < head_dim; ++i) out[i] = E::load(x[i]);
  }
  const std::int64_t half = head_dim / 2;
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = out[i];
    const float b = out[i + half];
    out[i] = rounded<E>(rounded<E>(a * cos[i]) - rounded<E>(b * sin[i]));
    out[i + half] = rounded<E>(rounded<E>(b * cos[i]) + rounded<E>(a * sin[i]));
  }
}

template <typename E>
struct QkvStep {
  using Storage = typename E::Storage;
  const HeadTransform& t;
  const RotaryEmbedding& rope;
  const QkvRows& qkv;
  std::span<const TokenPlace> places;
  std::int64_t layer;
  float* q_out;

  void row(std::int64_t r) const noexcept {
    const TokenPlace place = places[static_cast<std::size_t>(r)];
    const float* cos = rope.cos(place.position);
    const float* sin = rope.sin(place.position);
    const auto* q_row = reinterpret_cast<const Storage*>(qkv.q.data) + r * qkv.q.row_stride;
    for (std::int64_t h = 0; h < t.num_heads; ++h) {
      transform_head<E>(q_row + h * t.head_dim, t.q_norm, t.eps, cos, sin, t.head_dim,
                        q_out + (r * t.num_heads + h) * t.head_dim);
    }
    for (std::int64_t h = 0; h < t.num_kv_heads; ++h) kv_head(place, r, h, cos, sin);
  }

  void kv_head(const TokenPlace& place, std::int64_t r, std::int64_t h, const float* cos,
               const float* sin) const noexcept {
    const auto* k_row =
        reinterpret_cast<const Storage*>(qkv.k.data) + r * qkv.k.row_stride + h * t.head_dim;
    const auto* v_row =
        reinterpret_cast<const Storage*>(qkv.v.data) + r * qkv.v.row_stride + h * t.head_dim;
    const std::int64_t p = place.position;
    auto* keys = reinterpret_cast<Storage*>(place.cache->keys(layer, h)) +
                 p / KvCache::kBlock * KvCache::kBlock * t.head_dim + p % KvCache::kBlock;
    auto* values = reinterpret_cast<Storage*>(place.cache->values(layer, h)) + p * t.head_dim;
    float head[kMaxHeadDim];
    transform_head<E>(k_row, t.k_norm, t.eps, cos, sin, t.head_dim, head);
    for (std::int64_t i = 0; i < t.head_dim; ++i) keys[i * KvCache::kBlock] = E::store(head[i]);
    std::memcpy(values, v_row, static_cast<std::size_t>(t.head_dim) * sizeof(Storage));
  }
};

}  // namespace

void rms_norm(const Tensor& weight, float eps, const void* x, std::int64_t rows, void* y) noexcept {
  const std::int64_t n = weight.numel();
  with_element(weight.dtype(), [&](auto e) {
    using E = decltype(e);
    using Storage = typename E::Storage;
    parallel_for(rows, grain_rows(n), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        rms_norm_row<E>(static_cast<const Storage*>(x) + r * n, weight.data<Storage>(), n, eps,
                        static_cast<Storage*>(y) + r * n);
      }
    });
  });
}

void add_in_place(DType dtype, void* x, const void* y, std::int64_t n) noexcept {
  with_element(dtype, [&](auto e) {
    using E = decltype(e);
    auto* a = static_cast<typename E::Storage*>(x);
    const auto* b = static_cast<const typename E::Storage*>(y);
    parallel_for(n, kGrainElements, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) a[i] = E::store(E::load(a[i]) + E::load(b[i]));
    });
  });
}

void silu_mul(DType dtype, RowView gate, RowView up, std::int64_t rows, std::int64_t cols,
              void* out) noexcept {
  with_element(dtype, [&](auto e) {
    using E = decltype(e);
    using Storage = typename E::Storage;
    parallel_for(rows, grain_rows(cols * 8), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const auto* g = reinterpret_cast<const Storage*>(gate.data) + r * gate.row_stride;
        const auto* u = reinterpret_cast<const Storage*>(up.data) + r * up.row_stride;
        auto* o = static_cast<Storage*>(out) + r * cols;
        for (std::int64_t i = 0; i < cols; ++i) {
          const float v = E::load(g[i]);
          o[i] = E::store(rounded<E>(v / (1.0f + std::exp(-v))) * E::load(u[i]));
        }
      }
    });
  });
}

void transform_qkv(const HeadTransform& transform, const RotaryEmbedding& rope, const QkvRows& qkv,
                   std::span<const TokenPlace> places, std::int64_t layer, float* q_out) noexcept {
  if (places.empty()) return;
  with_element(places[0].cache->dtype(), [&](auto e) {
    using E = decltype(e);
    const QkvStep<E> step{transform, rope, qkv, places, layer, q_out};
    const std::int64_t cols = (transform.num_heads + transform.num_kv_heads) * transform.head_dim;
    const auto rows = static_cast<std::int64_t>(places.size());
    parallel_for(rows, grain_rows(cols), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) step.row(r);
    });
  });
}

void widen(DType dtype, const void* x, std::int64_t n, float* out) noexcept {
  with_element(dtype, [&](auto e) {
    using E = decltype(e);
    const auto* in = static_cast<const typename E::Storage*>(x);
    parallel_for(n, kGrainElements, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) out[i] = E::load(in[i]);
    });
  });
}

}  // namespace torchao_cpp
