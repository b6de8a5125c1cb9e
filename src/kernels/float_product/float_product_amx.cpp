// SPDX-License-Identifier: Apache-2.0
// Few rows of x as AVX-512 takes them; many in tiles of bfloat16, for operands that are values of
// it: 16 weight rows of 32 columns are the left operand, taken apart block by block; x is the right
// one, [16 rows of x][K / 32][16][16 rows of x][2]. Sums are float32.
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/simd_float_product.h"
#include "kernels/float_product/simd_products.h"
#include "kernels/simd/amx_gemm.h"

namespace torchao_cpp {
namespace {

constexpr std::int64_t kAmxColumns = 32;
std::int64_t tiles_along(std::int64_t columns) {
  return (columns + kAmxColumns - 1) / kAmxColumns;
}
std::int64_t amx_panels(std::int64_t m) noexcept { return amx_padded_rows(m) / kAmxRows; }

std::int64_t amx_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return amx_panels(m) * tiles_along(columns) * kAmxBytes;
}

std::int64_t scale_bytes(const CodeRows& w) { return rounded_up(scale_floats(w) * 4, 64); }

// In floats, as all of a FloatProduct's scratch.
std::int64_t amx_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return (scale_bytes(w) + amx_scratch_bytes(m)) / 4;
}

__m256i to_bfloat16(Floats v) {
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(v), 16));
}

// 32 columns of x as bfloat16, zeros from `count` on.
template <CodeForm kForm>
__m512i load_pairs(const std::byte* x, std::int64_t count) {
  if constexpr (kForm == CodeForm::kBFloat16) {
    const auto mask = static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
    return _mm512_maskz_loadu_epi16(mask, x);
  } else {
    static_assert(kForm == CodeForm::kFloat32);
    const auto* floats = reinterpret_cast<const float*>(x);
    const Floats low = Simd::load_first(floats, smaller(count, kLanes));
    const Floats high =
        count > kLanes ? Simd::load_first(floats + kLanes, count - kLanes) : Simd::zero();
    return _mm512_inserti64x4(_mm512_castsi256_si512(to_bfloat16(low)), to_bfloat16(high), 1);
  }
}

template <CodeForm kForm>
void pack_tiles(const std::byte* x, std::int64_t m, std::int64_t columns, std::int64_t panel,
                std::byte* out) {
  constexpr std::int64_t kBytes = code_bytes<kForm>();
  for (std::int64_t k = 0; k < columns; k += kAmxColumns, out += kAmxBytes) {
    // A tile is the transpose of 16 rows of 16 pairs.
    Floats v[kAmxRows];
    for (int r = 0; r < kAmxRows; ++r) {
      const std::int64_t row = panel * kAmxRows + r;
      v[r] = row >= m ? Simd::zero()
                      : _mm512_castsi512_ps(load_pairs<kForm>(x + (row * columns + k) * kBytes,
                                                              smaller(kAmxColumns, columns - k)));
    }
    Simd::transpose(v);
    for (int r = 0; r < kAmxRows; ++r)
      Simd::store(reinterpret_cast<float*>(out + r * kAmxRowBytes), v[r]);
  }
}

void amx_pack_x(const void* x, CodeForm form, std::int64_t m, std::int64_t columns,
                std::int64_t panel, void* packed) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  std::byte* to = static_cast<std::byte*>(packed) + panel * tiles_along(columns) * kAmxBytes;
  if (form == CodeForm::kBFloat16) {
    pack_tiles<CodeForm::kBFloat16>(from, m, columns, panel, to);
  } else {
    pack_tiles<CodeForm::kFloat32>(from, m, columns, panel, to);
  }
}

/// A row into its row of the tiles.
struct TileSink {
  std::byte* out;  ///< Of column 0.

  template <int kStep>
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Floats w) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k / kAmxColumns * kAmxBytes +
                                                   k % kAmxColumns * 2),
                        to_bfloat16(w));
  }
  TORCHAO_CPP_ALWAYS_INLINE void step_first(std::int64_t k, Floats w, std::int64_t) {
    step<0>(k, w);  // Lanes after the last column are 0.
  }
};

void fill_row(std::byte* row, std::int64_t first_tile, std::int64_t tiles) {
  for (std::int64_t t = first_tile; t < tiles; ++t)
    _mm512_storeu_si512(row + t * kAmxBytes, _mm512_setzero_si512());
}

// Rows n0 .. n0 + count, columns k0 .. k1, into the tiles of a block; zeros where there are none.
template <typename Codes>
[[gnu::noinline]] void read_tiles(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                  std::int64_t k0, std::int64_t k1, float* scales,
                                  std::byte* out) {
  const std::int64_t tiles = tiles_along(k1 - k0);
  for (std::int64_t i = 0; i < rounded_up(count, 2 * kAmxRows); ++i) {
    std::byte* row = amx_weight_row(out, i);
    if (i >= count) {
      fill_row(row, 0, tiles);
      continue;
    }
    if (w.form == CodeForm::kBFloat16) {
      const std::byte* from = w.codes + (n0 + i) * w.row_bytes + k0 * 2;
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t left = k1 - k0 - t * kAmxColumns;
        _mm512_storeu_si512(row + t * kAmxBytes,
                            load_pairs<CodeForm::kBFloat16>(from + t * kAmxRowBytes,
                                                            smaller(left, kAmxColumns)));
      }
      continue;
    }
    if ((k1 - k0) % kAmxColumns != 0) fill_row(row, tiles - 1, tiles);
    TileSink sink{row - k0 / kAmxColumns * kAmxBytes};
    Codes::read(w, read_scales(w, n0 + i, k0, k1, scales), n0 + i, k0, k1, w.row_bytes, sink);
  }
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
  with_codes(w, [&]<typename Codes>() {
    multiply_tiles<Codes>(w, n0, count, static_cast<const std::byte*>(packed_x), m, scratch, sums);
  });
}

constexpr FloatProduct kAmxProduct{kLanes,      kDotRows,   kAmxBlockRows, dot_scratch,
                                   amx_scratch, dot,        amx_x_bytes, amx_panels,
                                   amx_pack_x,  gemm_in_tiles,   finish_sums};

}  // namespace

const FloatProduct& float_product_amx_functions() noexcept { return kAmxProduct; }

}  // namespace torchao_cpp
