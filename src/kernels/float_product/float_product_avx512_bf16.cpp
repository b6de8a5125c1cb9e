// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 with BF16 and VBMI: operands that are values of bfloat16, sums in float32. Few
// rows of x: dot products, the weight taken apart on the way. Many: a block of weight rows is taken
// apart into [row][K] bfloat16 and multiplied with x, [32 rows of x side by side][K / 2][32][2].
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/simd_pair_product.h"
#include "kernels/float_product/simd_products.h"
#include "kernels/simd/simd_transpose.h"

namespace torchao_cpp {
namespace {

constexpr int kTileRows = Simd::kGemmRows;
constexpr std::int64_t kGemmBlock = 4 * kTileRows;
// Columns at a time: kGemmBlock rows of them are 96 KiB and a panel of x 64 KiB.
constexpr std::int64_t kGemmColumns = 1024;
constexpr std::int64_t kPanel = 2 * kLanes;
constexpr std::int64_t kPairBytes = 4;

std::int64_t x_panels(std::int64_t m) noexcept { return (m + kPanel - 1) / kPanel; }
std::int64_t padded_rows(std::int64_t m) { return x_panels(m) * kPanel; }

// Of all pairs of a panel.
std::int64_t panel_bytes(std::int64_t columns) {
  return rounded_up(columns, kPairColumns) / 2 * kPanel * kPairBytes;
}

std::int64_t packed_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return x_panels(m) * panel_bytes(columns);
}

template <CodeForm kForm>
void pack_panel(const CodeRows& w, const std::byte* x, std::int64_t m, std::int64_t panel,
                std::byte* out) {
  const bool interleaved = is_interleaved(w);
  for (int half = 0; half < 2; ++half) {
    const std::int64_t m0 = panel * kPanel + half * kLanes;
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns) {
      Floats v[2][16];
      transpose_x<kForm>(x + m0 * w.columns * code_bytes<kForm>(), m - m0, w.columns, k,
                         interleaved, v[0], v[1]);
      std::byte* to = out + (k / 2 * kPanel + half * kLanes) * kPairBytes;
      for (int i = 0; i < 32; ++i)
        _mm512_storeu_ps(to + i * kPanel * kPairBytes, v[i / 16][i % 16]);
    }
  }
}

void pack_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m, std::int64_t panel,
            void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  std::byte* to = static_cast<std::byte*>(packed) + panel * panel_bytes(w.columns);
  if (form == CodeForm::kBFloat16) {
    pack_panel<CodeForm::kBFloat16>(w, from, m, panel, to);
  } else {
    pack_panel<CodeForm::kFloat32>(w, from, m, panel, to);
  }
}

// sums [kTileRows][kPanel] += w [kTileRows][pairs] x [pairs][kPanel]; w's rows are kGemmColumns apart.
template <int kVectors>
[[gnu::noinline]] void tile(const std::byte* w, const std::byte* x, std::int64_t pairs,
                            float* sums, std::int64_t sum_stride) {
  Floats acc[kTileRows][kVectors];
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kTileRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) acc[r][v] = Simd::load(sums + r * sum_stride + v * kLanes);
  for (std::int64_t k = 0; k < pairs; ++k) {
    Pairs xk[kVectors];
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v)
      xk[v] = _mm512_loadu_si512(x + (k * kPanel + v * kLanes) * kPairBytes);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kTileRows; ++r) {
      std::int32_t pair;
      std::memcpy(&pair, w + r * kGemmColumns * 2 + k * kPairBytes, sizeof(pair));
      const Pairs wk = _mm512_set1_epi32(pair);
      TORCHAO_CPP_UNROLL
      for (int v = 0; v < kVectors; ++v) acc[r][v] = add_products(acc[r][v], wk, xk[v]);
    }
  }
  TORCHAO_CPP_UNROLL
  for (int r = 0; r < kTileRows; ++r)
    TORCHAO_CPP_UNROLL
    for (int v = 0; v < kVectors; ++v) Simd::store(sums + r * sum_stride + v * kLanes, acc[r][v]);
}

constexpr std::int64_t kWeightFloats = kGemmBlock * kGemmColumns / 2;

std::int64_t gemm_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return pair_row_floats(w) + kWeightFloats + kGemmBlock * padded_rows(m);
}

template <typename Codes>
[[gnu::noinline]] void take_apart(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                  std::int64_t k0, std::int64_t k1, float* scratch,
                                  std::byte* out) {
  const auto row = [&](std::int64_t i) { return n0 + i; };
  for_pair_rows<Codes>(w, count, k0, k1, scratch, row, [&](std::int64_t i, const auto& scales) {
    StorePairs sink{out + i * kGemmColumns * 2 - k0 * 2};
    Codes::read(w, scales, n0 + i, k0, k1, w.row_bytes, sink);
  });
  // Rows that only fill a tile.
  for (std::int64_t i = count; i < rounded_up(count, kTileRows); ++i)
    std::memset(out + i * kGemmColumns * 2, 0, static_cast<std::size_t>(pair_row_bytes(k1 - k0)));
}

void gemm(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
          std::int64_t m, float* scratch, float* out) noexcept {
  auto* const weight = reinterpret_cast<std::byte*>(scratch + pair_row_floats(w));
  float* const sums = reinterpret_cast<float*>(weight) + kWeightFloats;
  const std::int64_t stride = padded_rows(m);
  const std::int64_t rows = rounded_up(count, kTileRows);
  for (std::int64_t i = 0; i < rows * stride; i += kLanes) Simd::store(sums + i, Simd::zero());
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += kGemmColumns) {
    const std::int64_t k1 = smaller(w.columns, k0 + kGemmColumns);
    with_pair_codes(w, [&]<typename Codes>() {
      take_apart<Codes>(w, n0, count, k0, k1, scratch, weight);
    });
    const std::int64_t pairs = rounded_up(k1 - k0, kPairColumns) / 2;
    for (std::int64_t p = 0; p < x_panels(m); ++p) {
      const std::byte* xp = static_cast<const std::byte*>(packed_x) +
                            p * panel_bytes(w.columns) + k0 / 2 * kPanel * kPairBytes;
      const bool is_half = m - p * kPanel <= kLanes;
      for (std::int64_t r = 0; r < rows; r += kTileRows) {
        const std::byte* wr = weight + r * kGemmColumns * 2;
        float* s = sums + r * stride + p * kPanel;
        if (is_half) {
          tile<1>(wr, xp, pairs, s, stride);
        } else {
          tile<2>(wr, xp, pairs, s, stride);
        }
      }
    }
  }
  transpose_sums(sums, stride, m, count, out);
}

constexpr FloatProduct kPairProduct{
    .lanes = kFieldLanes,
    .lane_bytes = 1,
    .takes_bfloat16 = true,
    .dot_rows = kPairDotRows,
    .gemm_rows = kGemmBlock,
    .dot_scratch = pair_dot_scratch,
    .gemm_scratch = gemm_scratch,
    .dot_x_bytes = pair_dot_x_bytes,
    .pack_dot_x = pack_pair_dot_x,
    .dot = pair_dot,
    .packed_x_bytes = packed_x_bytes,
    .x_panels = x_panels,
    .pack_x = pack_x,
    .gemm = gemm,
    .finish = finish_sums};

}  // namespace

const FloatProduct& float_product_avx512_bf16_functions() noexcept { return kPairProduct; }

}  // namespace torchao_cpp
