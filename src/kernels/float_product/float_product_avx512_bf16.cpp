// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 with BF16 and VBMI: operands that are values of bfloat16, sums in float32. Few
// rows of x: dot products, the weight taken apart on the way. Many: simd_gemm.h with pairs as words.
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/simd_gemm.h"
#include "kernels/float_product/simd_pair_product.h"
#include "kernels/float_product/simd_products.h"

namespace torchao_cpp {
namespace {

// More rows of x: kTileSide weight rows at a time, kTileColumns of them taken apart into a buffer in the
// first-level cache and multiplied with kTileSide rows of x after the other. A sum is a vector until all
// columns are done.
constexpr int kTileSide = 4;
constexpr int kTileSums = kTileSide * kTileSide;
constexpr std::int64_t kTileColumns = 1024;
constexpr std::int64_t kDotRows = 16;

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

std::int64_t dot_scratch(const CodeRows& w) noexcept {
  return pair_row_floats(w) + kTileWeightFloats + kDotRows / kTileSide * kTileSums * kLanes;
}

void dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* x, std::int64_t m,
         float* scratch, float* sums) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  with_pair_codes(w, [&]<typename Codes>() {
    if (m <= kFewRows) return dot_few_rows<Codes>(w, n0, count, from, m, scratch, sums);
    dot_tiles<Codes>(w, n0, count, from, m, scratch, sums);
  });
}

std::int64_t pairs_along(std::int64_t columns) { return rounded_up(columns, kPairColumns) / 2; }

std::int64_t packed_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return panel_floats(m, pairs_along(columns)) * static_cast<std::int64_t>(sizeof(float));
}

template <CodeForm kForm>
void pack_panel(const CodeRows& w, const std::byte* x, std::int64_t m, std::int64_t panel,
                float* out) {
  const bool interleaved = is_interleaved(w);
  for (int half = 0; half < 2; ++half) {
    const std::int64_t m0 = panel * kPanel + half * kLanes;
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns) {
      Floats v[2][16];
      transpose_x<kForm>(x + m0 * w.columns * code_bytes<kForm>(), m - m0, w.columns, k,
                         interleaved, v[0], v[1]);
      float* to = out + k / 2 * kPanel + half * kLanes;
      for (int i = 0; i < 32; ++i) Simd::store(to + i * kPanel, v[i / 16][i % 16]);
    }
  }
}

void pack_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m, std::int64_t panel,
            void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  float* to = static_cast<float*>(packed) + panel * kPanel * pairs_along(w.columns);
  if (form == CodeForm::kBFloat16) {
    pack_panel<CodeForm::kBFloat16>(w, from, m, panel, to);
  } else {
    pack_panel<CodeForm::kFloat32>(w, from, m, panel, to);
  }
}

struct MultiplyPairs {
  TORCHAO_CPP_ALWAYS_INLINE static Floats add(Floats sum, Floats w, Floats x) {
    return add_products(sum, _mm512_castps_si512(w), _mm512_castps_si512(x));
  }
};

std::int64_t gemm_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return pair_row_floats(w) + block_floats(m);
}

template <typename Codes>
[[gnu::noinline]] void take_apart(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                  std::int64_t k0, std::int64_t k1, float* scratch,
                                  std::byte* out) {
  const auto row = [&](std::int64_t i) { return n0 + i; };
  for_pair_rows<Codes>(w, count, k0, k1, scratch, row, [&](std::int64_t i, const auto& scales) {
    StorePairs sink{out + i * kGemmWords * 4 - k0 * 2};
    Codes::read(w, scales, n0 + i, k0, k1, w.row_bytes, sink);
  });
}

void gemm(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
          std::int64_t m, float* scratch, float* sums) noexcept {
  multiply_block<MultiplyPairs>(
      count, pairs_along(w.columns), static_cast<const float*>(packed_x), m,
      scratch + pair_row_floats(w), sums,
      [&](std::int64_t pair, std::int64_t pairs, float* weight) {
        with_pair_codes(w, [&]<typename Codes>() {
          take_apart<Codes>(w, n0, count, 2 * pair, smaller(w.columns, 2 * (pair + pairs)),
                            scratch, reinterpret_cast<std::byte*>(weight));
        });
      });
}

constexpr FloatProduct kPairProduct{
    .lanes = kFieldLanes,
    .lane_bytes = 1,
    .takes_bfloat16 = true,
    .dot_rows = kDotRows,
    .gemm_rows = kGemmBlock,
    .dot_scratch = dot_scratch,
    .gemm_scratch = gemm_scratch,
    .dot_x_bytes = pair_dot_x_bytes,
    .pack_dot_x = pack_pair_dot_x,
    .dot = dot,
    .packed_x_bytes = packed_x_bytes,
    .x_panels = x_panels,
    .pack_x = pack_x,
    .gemm = gemm,
    .finish = finish_sums};

}  // namespace

const FloatProduct& float_product_avx512_bf16_functions() noexcept { return kPairProduct; }

}  // namespace torchao_cpp
