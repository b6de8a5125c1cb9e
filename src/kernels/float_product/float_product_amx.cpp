// SPDX-License-Identifier: Apache-2.0
// Operands that are values of bfloat16, sums in float32. Few rows of x: dot products of AVX-512. Many:
// in tiles; 16 weight rows of 32 columns are the left operand, taken apart block by block; x is the
// right one, [16 rows of x][K / 32][16][16 rows of x][2], K in steps of 64.
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/pair_code_reader.h"
#include "kernels/float_product/simd_products.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kAmxColumns = 32;
std::int64_t tiles_along(std::int64_t columns) {
  return rounded_up(columns, kPairColumns) / kAmxColumns;
}
std::int64_t amx_panels(std::int64_t m) noexcept { return amx_padded_rows(m) / kAmxRows; }

std::int64_t amx_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return amx_panels(m) * tiles_along(columns) * kAmxBytes;
}

std::int64_t scale_bytes(const CodeRows& w) { return pair_row_floats(w) * 4; }

// In floats, as all of a FloatProduct's scratch.
std::int64_t amx_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return (scale_bytes(w) + amx_scratch_bytes(m)) / 4;
}

template <CodeForm kForm>
void pack_tiles(const CodeRows& w, const std::byte* x, std::int64_t m, std::int64_t panel,
                std::byte* out) {
  const PairOrder order = pair_order(w);
  const std::int64_t m0 = panel * kAmxRows;
  for (std::int64_t k = 0; k < w.columns; k += kPairColumns, out += 2 * kAmxBytes) {
    // A tile is the transpose of 16 rows of 16 pairs.
    Floats v[2][kAmxRows];
    transpose_x<kForm>(x + m0 * w.columns * code_bytes<kForm>(), m - m0, w.columns, k, order,
                       v[0], v[1]);
    for (int i = 0; i < 2 * kAmxRows; ++i)
      _mm512_storeu_ps(out + i * kAmxRowBytes, v[i / kAmxRows][i % kAmxRows]);
  }
}

void amx_pack_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                std::int64_t panel, void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  std::byte* to = static_cast<std::byte*>(packed) + panel * tiles_along(w.columns) * kAmxBytes;
  if (form == CodeForm::kBFloat16) {
    pack_tiles<CodeForm::kBFloat16>(w, from, m, panel, to);
  } else {
    pack_tiles<CodeForm::kFloat32>(w, from, m, panel, to);
  }
}

/// A row into its row of the tiles.
struct TileSink {
  std::byte* out;  ///< Of column 0.

  TORCHAO_CPP_ALWAYS_INLINE static void prefetch(const std::byte* p) { torchao_cpp::prefetch(p); }
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, const Pairs (&v)[1][2]) {
    std::byte* to = out + k / kAmxColumns * kAmxBytes;
    _mm512_storeu_si512(to, v[0][0]);
    _mm512_storeu_si512(to + kAmxBytes, v[0][1]);
  }
};

// Rows n0 .. n0 + count, columns k0 .. k1, into the tiles of a block; zeros where there are none.
template <typename Codes>
[[gnu::noinline]] void read_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                  std::int64_t k0, std::int64_t k1, float* scales,
                                  std::byte* out) {
  const std::int64_t tiles = tiles_along(k1 - k0);
  const PairRange range(w, k0, k1);
  for_pair_rows<Codes, 1>(w, n0, count, range, scales, [&](std::int64_t i, const auto& row_scales) {
    TileSink sink{amx_weight_row(out, i) - k0 / kAmxColumns * kAmxBytes};
    read_rows<Codes>(w, row_scales, n0 + i, range, w.row_bytes, sink);
  });
  for (std::int64_t i = count; i < rounded_up(count, 2 * kAmxRows); ++i)
    for (std::int64_t t = 0; t < tiles; ++t)
      _mm512_storeu_si512(amx_weight_row(out, i) + t * kAmxBytes, _mm512_setzero_si512());
}

template <typename Codes>
[[gnu::noinline]] void multiply_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                      const std::byte* x, std::int64_t m, float* scales,
                                      float* out) {
  auto* const scratch = reinterpret_cast<std::byte*>(scales) + scale_bytes(w);
  amx_gemm(
      count, m, tiles_along(w.columns), x, scratch,
      [&](std::int64_t t0, std::int64_t tiles) __attribute__((always_inline)) {
        read_tiles<Codes>(w, n0, count, t0 * kAmxColumns,
                          smaller(w.columns, (t0 + tiles) * kAmxColumns), scales, scratch);
      },
      [&](const std::byte* w0, const std::byte* w1, const std::byte* x0, const std::byte* x1,
          std::int64_t t0, std::int64_t tiles, std::byte* block, std::int64_t)
          __attribute__((always_inline)) {
            TORCHAO_CPP_TILE_BLOCK(TORCHAO_CPP_TILE_DOT_BFLOAT16, w0, w1, x0, x1, tiles, block,
                                   t0 == 0);
          });
  amx_transpose_sums(scratch, m, count, out);
}

void gemm_in_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
              std::int64_t m, float* scratch, float* sums) noexcept {
  with_pair_codes(w, [&]<typename Codes>() {
    multiply_tiles<Codes>(w, n0, count, static_cast<const std::byte*>(packed_x), m, scratch, sums);
  });
}

// Few rows: as without AMX.
const FloatProduct& without_amx() noexcept { return float_product_avx512_bf16_functions(); }

std::int64_t dot_scratch(const CodeRows& w) noexcept { return without_amx().dot_scratch(w); }

std::int64_t dot_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return without_amx().dot_x_bytes(m, columns);
}

void pack_dot_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m,
                void* packed) noexcept {
  without_amx().pack_dot_x(w, x, form, m, packed);
}

void dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* x, std::int64_t m,
         float* scratch, float* sums) noexcept {
  without_amx().dot(w, n0, count, x, m, scratch, sums);
}

// From more rows on, tiles are faster.
constexpr std::int64_t kAmxFewRows = 4;

constexpr FloatProduct kAmxProduct{.lanes = kFieldLanes,
                                   .lane_bytes = 1,
                                   .takes_bfloat16 = true,
                                   .dot_rows = kAmxFewRows,
                                   .gemm_rows = kAmxBlockRows,
                                   .dot_scratch = dot_scratch,
                                   .gemm_scratch = amx_scratch,
                                   .dot_x_bytes = dot_x_bytes,
                                   .pack_dot_x = pack_dot_x,
                                   .dot = dot,
                                   .packed_x_bytes = amx_x_bytes,
                                   .x_panels = amx_panels,
                                   .pack_x = amx_pack_x,
                                   .gemm = gemm_in_tiles,
                                   .finish = finish_sums};

}  // namespace

const FloatProduct& float_product_amx_functions() noexcept { return kAmxProduct; }

}  // namespace torchao_cpp
