// SPDX-License-Identifier: Apache-2.0
#pragma once

// RowKernels and LogitKernels on the vectors of lanes.h, which see. Compiled without contraction of
// products and sums: every operation rounds.

#include "kernels/decoder_ops/decoder_kernels.h"
#include "kernels/decoder_ops/lanes.h"

namespace torchao_cpp {
namespace {

template <typename E>
struct RowSteps {
  using Storage = typename E::Storage;

  static float inverse_rms(const Storage* x, std::int64_t n, float eps) {
    Floats sum{};
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      const Floats v = load_first<E>(x + i, count);
      sum += v * v;
    });
    return 1.0f / __builtin_sqrtf(sum_of(sum) / static_cast<float>(n) + eps);
  }

  static void rms_norm(const void* x_data, const void* weight_data, std::int64_t n, float eps,
                       void* y_data) noexcept {
    const auto* x = static_cast<const Storage*>(x_data);
    const auto* weight = static_cast<const Storage*>(weight_data);
    auto* y = static_cast<Storage*>(y_data);
    const float scale = inverse_rms(x, n, eps);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      const Floats v = E::round(load_first<E>(x + i, count) * scale);
      store_first<E>(y + i, load_first<E>(weight + i, count) * v, count);
    });
  }

  static void layer_norm(const void* x_data, const void* weight_data, const void* bias_data,
                         std::int64_t n, float eps, void* y_data) noexcept {
    const auto* x = static_cast<const Storage*>(x_data);
    const auto* weight = static_cast<const Storage*>(weight_data);
    const auto* bias = static_cast<const Storage*>(bias_data);
    auto* y = static_cast<Storage*>(y_data);
    Floats sum{};
    for_lanes(n, [&](std::int64_t i, std::int64_t count) { sum += load_first<E>(x + i, count); });
    const float mean = sum_of(sum) / static_cast<float>(n);
    // A second pass: the difference of mean square and squared mean would cancel.
    float squares = 0.0f;
    Floats square_lanes{};
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      const Floats v = load_first<E>(x + i, count) - mean;
      if (count == kLanes) {
        square_lanes += v * v;
      } else {
        for (std::int64_t lane = 0; lane < count; ++lane) squares += v[lane] * v[lane];
      }
    });
    squares += sum_of(square_lanes);
    const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(n) + eps);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      Floats v = (load_first<E>(x + i, count) - mean) * scale;
      if (weight != nullptr) v = v * load_first<E>(weight + i, count);
      if (bias != nullptr) v = v + load_first<E>(bias + i, count);
      store_first<E>(y + i, v, count);
    });
  }

  static void turn_head(const void* x_data, const void* weight_data, float eps, const float* cos,
                        const float* sin, std::int64_t head_dim, float* out) noexcept {
    const auto* x = static_cast<const Storage*>(x_data);
    const auto* weight = static_cast<const Storage*>(weight_data);
    const float scale = weight == nullptr ? 1.0f : inverse_rms(x, head_dim, eps);
    const auto load = [&](std::int64_t i, std::int64_t count) {
      const Floats v = load_first<E>(x + i, count);
      if (weight == nullptr) return v;
      return E::round(load_first<E>(weight + i, count) * E::round(v * scale));
    };
    if (cos == nullptr) {
      for_lanes(head_dim, [&](std::int64_t i, std::int64_t count) {
        store_first<Float32>(out + i, load(i, count), count);
      });
      return;
    }
    const std::int64_t half = head_dim / 2;
    for_lanes(half, [&](std::int64_t i, std::int64_t count) {
      const Floats a = load(i, count);
      const Floats b = load(i + half, count);
      const Floats c = load_first<Float32>(cos + i, count);
      const Floats s = load_first<Float32>(sin + i, count);
      store_first<Float32>(out + i, E::round(E::round(a * c) - E::round(b * s)), count);
      store_first<Float32>(out + i + half, E::round(E::round(b * c) + E::round(a * s)), count);
    });
  }

  static void silu_mul(const void* gate_data, const void* up_data, std::int64_t n,
                       void* out_data) noexcept {
    const auto* gate = static_cast<const Storage*>(gate_data);
    const auto* up = static_cast<const Storage*>(up_data);
    auto* out = static_cast<Storage*>(out_data);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      const Floats g = load_first<E>(gate + i, count);
      const Floats silu = E::round(g / (1.0f + exp_of(-g)));
      store_first<E>(out + i, silu * load_first<E>(up + i, count), count);
    });
  }

  static void relu(void* x_data, std::int64_t n) noexcept {
    auto* x = static_cast<Storage*>(x_data);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      const Floats v = load_first<E>(x + i, count);
      store_first<E>(x + i, v < 0.0f ? Floats{} : v, count);
    });
  }

  static void add(void* x_data, const void* y_data, std::int64_t n) noexcept {
    auto* x = static_cast<Storage*>(x_data);
    const auto* y = static_cast<const Storage*>(y_data);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      store_first<E>(x + i, load_first<E>(x + i, count) + load_first<E>(y + i, count), count);
    });
  }

  static void widen(const void* x, std::int64_t n, float* out) noexcept {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      store_first<Float32>(out + i, load_first<E>(static_cast<const Storage*>(x) + i, count),
                           count);
    });
  }

  static void narrow(const float* x, std::int64_t n, void* out) noexcept {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) {
      store_first<E>(static_cast<Storage*>(out) + i, load_first<Float32>(x + i, count), count);
    });
  }

  static constexpr RowKernels kernels() {
    return {rms_norm, layer_norm, turn_head, silu_mul, relu, add, widen, narrow};
  }
};

float largest_logit(const float* x, std::int64_t n) noexcept {
  Floats most = set1(x[0]);
  Floats unordered{};
  float rest = x[0];
  bool has_nan = false;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Floats v = Float32::load(x + i);
    most = larger(v, most);
    unordered = v == v ? unordered : v;
  }
  for (; i < n; ++i) {
    rest = x[i] > rest ? x[i] : rest;
    has_nan = has_nan || x[i] != x[i];
  }
  for (int lane = 0; lane < kLanes; ++lane) has_nan = has_nan || unordered[lane] != unordered[lane];
  if (has_nan || x[0] != x[0]) return __builtin_nanf("");
  const float lanes = largest_of(most);
  return lanes > rest ? lanes : rest;
}

void logit_weights(const float* x, std::int64_t n, float largest, float factor,
                   float* out) noexcept {
  for_lanes(n, [&](std::int64_t i, std::int64_t count) {
    const Floats v = load_first<Float32>(x + i, count);
    store_first<Float32>(out + i, exp_of((v - largest) * factor), count);
  });
}

const RowKernels& row_kernels_here(DType dtype) noexcept {
  static constexpr RowKernels kFloat32Rows = RowSteps<Float32>::kernels();
  static constexpr RowKernels kFloat16Rows = RowSteps<Float16>::kernels();
  static constexpr RowKernels kBFloat16Rows = RowSteps<BFloat16>::kernels();
  if (dtype == DType::kBFloat16) return kBFloat16Rows;
  return dtype == DType::kFloat16 ? kFloat16Rows : kFloat32Rows;
}

constexpr LogitKernels kLogitKernels{largest_logit, logit_weights};

}  // namespace
}  // namespace torchao_cpp
