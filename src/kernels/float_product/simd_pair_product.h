// SPDX-License-Identifier: Apache-2.0
#pragma once

// dot() of a FloatProduct in bfloat16; see pair_code_reader.h.

#include "kernels/float_product/pair_code_reader.h"

namespace torchao_cpp {
namespace {

/// Sums of one weight row with kM rows of x, [kM][columns rounded up to 64].
template <int kM>
struct PairDotSink {
  static constexpr int kSums = kM == 1 ? 4 : 2;
  const std::byte* x[kM];
  Floats sums[kM][kSums];

  TORCHAO_CPP_ALWAYS_INLINE PairDotSink(const std::byte* first, std::int64_t stride,
                                        std::int64_t m) {
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      x[i] = first + smaller(i, m - 1) * stride;
      TORCHAO_CPP_UNROLL
      for (int u = 0; u < kSums; ++u) sums[i][u] = Simd::zero();
    }
  }

  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Pairs v0, Pairs v1) {
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      sums[i][0] = add_products(sums[i][0], v0, _mm512_loadu_si512(x[i] + k * 2));
      sums[i][kSums - 1] =
          add_products(sums[i][kSums - 1], v1, _mm512_loadu_si512(x[i] + k * 2 + 64));
    }
    if constexpr (kSums == 4) {
      // Longer chains of sums: the other two are next.
      const Floats t0 = sums[0][0], t3 = sums[0][3];
      sums[0][0] = sums[0][1];
      sums[0][3] = sums[0][2];
      sums[0][1] = t0;
      sums[0][2] = t3;
    }
  }

  float sum(int i) const {
    Floats total = sums[i][0];
    TORCHAO_CPP_UNROLL
    for (int u = 1; u < kSums; ++u) total = Simd::add(total, sums[i][u]);
    return Simd::sum(total);
  }
};

// Columns at a time, so that kM rows of x stay in the first-level cache.
template <int kM>
constexpr std::int64_t kPairDotColumns = 16384 / kM;

std::int64_t pair_row_bytes(std::int64_t columns) { return rounded_up(columns, kPairColumns) * 2; }

template <typename Codes, int kM>
[[gnu::noinline]] void dot_pairs(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                 const std::byte* x, std::int64_t m, float* scratch, float* sums) {
  // What is read next: the same columns of the next row, or what follows in memory.
  const std::int64_t ahead = w.columns <= kPairDotColumns<kM> ? 1024 : w.row_bytes;
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += kPairDotColumns<kM>) {
    const std::int64_t k1 = smaller(w.columns, k0 + kPairDotColumns<kM>);
    const auto row = [&](std::int64_t i) { return n0 + i; };
    for_pair_rows<Codes>(w, count, k0, k1, scratch, row, [&](std::int64_t i, const auto& scales) {
      PairDotSink<kM> sink(x, pair_row_bytes(w.columns), m);
      Codes::read(w, scales, n0 + i, k0, k1, ahead, sink);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kM; ++r) {
        if (r < m) {
          float& sum = sums[r * count + i];
          sum = k0 == 0 ? sink.sum(r) : sum + sink.sum(r);
        }
      }
    });
  }
}

// More rows of x: kTileSide weight rows at a time, kTileColumns of them taken apart into a buffer in the
// first-level cache and multiplied with kTileSide rows of x after the other. A sum is a vector until all
// columns are done.
constexpr int kTileSide = 4;
constexpr int kTileSums = kTileSide * kTileSide;
constexpr std::int64_t kTileColumns = 1024;
constexpr std::int64_t kPairDotRows = 16;

/// A row as bfloat16.
struct StorePairs {
  std::byte* out;  ///< Of column 0.

  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Pairs v0, Pairs v1) {
    _mm512_storeu_si512(out + k * 2, v0);
    _mm512_storeu_si512(out + k * 2 + 64, v1);
  }
};

// sums [kTileSide rows of w][kTileSide rows of x] += products of `bytes` bytes of each row.
[[gnu::noinline]] void add_tile(const std::byte* w, const std::byte* const (&x)[kTileSide],
                                std::int64_t bytes, float* sums) {
  Floats acc[kTileSums];
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kTileSums; ++i) acc[i] = Simd::load(sums + i * kLanes);
  const std::byte* const x0 = x[0];
  const std::byte* const x1 = x[1];
  const std::byte* const x2 = x[2];
  const std::byte* const x3 = x[3];
  for (std::int64_t at = 0; at < bytes; at += 64) {
    const Pairs xs[kTileSide] = {_mm512_loadu_si512(x0 + at), _mm512_loadu_si512(x1 + at),
                                 _mm512_loadu_si512(x2 + at), _mm512_loadu_si512(x3 + at)};
    TORCHAO_CPP_UNROLL
    for (int n = 0; n < kTileSide; ++n) {
      const Pairs wn = _mm512_loadu_si512(w + n * kTileColumns * 2 + at);
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kTileSide; ++i)
        acc[n * kTileSide + i] = add_products(acc[n * kTileSide + i], wn, xs[i]);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kTileSums; ++i) Simd::store(sums + i * kLanes, acc[i]);
}

/// The lanes of each of 16 vectors, added up.
[[gnu::noinline]] void add_lanes(const float* vectors, float* sums) {
  Floats v[kLanes];
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kLanes; ++i) v[i] = Simd::load(vectors + i * kLanes);
  Simd::transpose(v);
  TORCHAO_CPP_UNROLL
  for (int unit = 1; unit < kLanes; unit *= 2)
    TORCHAO_CPP_UNROLL
    for (int i = 0; i + unit < kLanes; i += 2 * unit) v[i] = Simd::add(v[i], v[i + unit]);
  Simd::store(sums, v[0]);
}

constexpr std::int64_t kTileWeightFloats = kTileSide * kTileColumns / 2;

template <typename Codes>
[[gnu::noinline]] void dot_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                 const std::byte* x, std::int64_t m, float* scratch,
                                 float* sums) {
  auto* const buffer = reinterpret_cast<std::byte*>(scratch + pair_row_floats(w));
  float* const vectors = reinterpret_cast<float*>(buffer) + kTileWeightFloats;
  const std::int64_t groups = (m + kTileSide - 1) / kTileSide;
  const std::int64_t x_stride = pair_row_bytes(w.columns);
  for (std::int64_t i = 0; i < count; i += kTileSide) {
    for (std::int64_t v = 0; v < groups * kTileSums; ++v)
      Simd::store(vectors + v * kLanes, Simd::zero());
    for (std::int64_t k0 = 0; k0 < w.columns; k0 += kTileColumns) {
      const std::int64_t k1 = smaller(w.columns, k0 + kTileColumns);
      const auto row = [&](std::int64_t r) { return n0 + smaller(i + r, count - 1); };
      for_pair_rows<Codes>(w, kTileSide, k0, k1, scratch, row,
                           [&](std::int64_t r, const auto& scales) {
                             StorePairs sink{buffer + r * kTileColumns * 2 - k0 * 2};
                             Codes::read(w, scales, row(r), k0, k1, 1024, sink);
                           });
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::byte* rows[kTileSide];
        for (int r = 0; r < kTileSide; ++r)
          rows[r] = x + smaller(g * kTileSide + r, m - 1) * x_stride + k0 * 2;
        add_tile(buffer, rows, pair_row_bytes(k1 - k0), vectors + g * kTileSums * kLanes);
      }
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      alignas(64) float tile[kTileSums];
      add_lanes(vectors + g * kTileSums * kLanes, tile);
      for (std::int64_t r = 0; r < smaller(kTileSide, m - g * kTileSide); ++r)
        for (std::int64_t n = 0; n < smaller(kTileSide, count - i); ++n)
          sums[(g * kTileSide + r) * count + i + n] = tile[n * kTileSide + r];
    }
  }
}

std::int64_t pair_dot_scratch(const CodeRows& w) noexcept {
  return pair_row_floats(w) + kTileWeightFloats + kPairDotRows / kTileSide * kTileSums * kLanes;
}

std::int64_t pair_dot_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return m * pair_row_bytes(columns);
}

void pack_pair_dot_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                     void* packed) noexcept {
  const bool interleaved = is_interleaved(w);
  const auto* from = static_cast<const std::byte*>(x);
  auto* to = static_cast<std::byte*>(packed);
  const std::int64_t bytes = form == CodeForm::kBFloat16 ? 2 : 4;
  for (std::int64_t r = 0; r < m; ++r) {
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns, to += kPairColumns * 2) {
      const std::byte* at = from + (r * w.columns + k) * bytes;
      Pairs v0, v1;
      if (form == CodeForm::kBFloat16) {
        load_x<CodeForm::kBFloat16>(at, w.columns - k, interleaved, v0, v1);
      } else {
        load_x<CodeForm::kFloat32>(at, w.columns - k, interleaved, v0, v1);
      }
      _mm512_storeu_si512(to, v0);
      _mm512_storeu_si512(to + 64, v1);
    }
  }
}

void pair_dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* x,
              std::int64_t m, float* scratch, float* sums) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  with_pair_codes(w, [&]<typename Codes>() {
    if (m == 1) return dot_pairs<Codes, 1>(w, n0, count, from, m, scratch, sums);
    if (m <= 4) return dot_pairs<Codes, 4>(w, n0, count, from, m, scratch, sums);
    dot_tiles<Codes>(w, n0, count, from, m, scratch, sums);
  });
}

}  // namespace
}  // namespace torchao_cpp
