// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 with BF16 and VBMI: operands that are values of bfloat16, sums in float32.
// Few rows of x: dot products, the weight taken apart on the way. Many: simd_gemm.h with pairs as
// words.
#include "kernels/simd/simd_avx512.h"

#include "kernels/float_product/simd_gemm.h"
#include "kernels/float_product/simd_pair_product.h"
#include "kernels/float_product/simd_products.h"

namespace torchao_cpp {
namespace {

/// A row as bfloat16.
struct StorePairs {
  std::byte* out;  ///< Of column 0.

  TORCHAO_CPP_ALWAYS_INLINE static void prefetch(const std::byte* p) { prefetch_far(p); }
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, const Pairs (&v)[1][2]) {
    _mm512_storeu_si512(out + k * 2, v[0][0]);
    _mm512_storeu_si512(out + k * 2 + 64, v[0][1]);
  }
};

std::int64_t dot_scratch(const CodeRows& w) noexcept { return pair_row_floats(w); }

void dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* x, std::int64_t m,
         float* scratch, float* sums) noexcept {
  const auto* from = static_cast<const std::byte*>(x);
  with_pair_codes(
      w, [&]<typename Codes>() { dot_few_rows<Codes>(w, n0, count, from, m, scratch, sums); });
}

std::int64_t pairs_along(std::int64_t columns) { return rounded_up(columns, kPairColumns) / 2; }

std::int64_t packed_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return panel_floats(m, pairs_along(columns)) * static_cast<std::int64_t>(sizeof(float));
}

template <CodeForm kForm>
void pack_panel(const CodeRows& w, const std::byte* x, std::int64_t m, std::int64_t panel,
                float* out) {
  const PairOrder order = pair_order(w);
  for (int half = 0; half < 2; ++half) {
    const std::int64_t m0 = panel * kPanel + half * kLanes;
    for (std::int64_t k = 0; k < w.columns; k += kPairColumns) {
      Floats v[2][16];
      transpose_x<kForm>(x + m0 * w.columns * code_bytes<kForm>(), m - m0, w.columns, k, order,
                         v[0], v[1]);
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
                                  const PairRange& range, std::int64_t ahead, float* scratch,
                                  std::byte* out) {
  for_pair_rows<Codes, 1>(w, n0, count, range, scratch, [&](std::int64_t i, const auto& scales) {
    StorePairs sink{out + i * kGemmStride * 4 - range.begin * 2};
    read_rows<Codes>(w, scales, n0 + i, range, ahead, sink);
  });
}

void gemm(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
          std::int64_t m, float* scratch) noexcept {
  const std::int64_t pairs = pairs_along(w.columns);
  const LinesAhead rows = lines_of(w, n0, 2);
  multiply_block<MultiplyPairs>(
      count, pairs, static_cast<const float*>(packed_x), m, rows, scratch + pair_row_floats(w),
      [&](const GemmBlock& block, float* weight) {
        const PairRange range(w, 2 * block.word,
                              smaller(w.columns, 2 * (block.word + block.words)));
        with_pair_codes(w, [&]<typename Codes>() {
          take_apart<Codes>(w, n0 + block.row, block.rows, range,
                            rows.at != nullptr ? 0 : block.bytes_ahead(w.row_bytes, pairs), scratch,
                            reinterpret_cast<std::byte*>(weight));
        });
      });
}

void take_sums(const CodeRows& w, std::int64_t count, std::int64_t m, const float* scratch,
               std::int64_t m0, std::int64_t rows, float* sums) noexcept {
  take_block_sums(scratch + pair_row_floats(w), m, count, m0, rows, sums);
}

constexpr FloatProduct kPairProduct{.lanes = kFieldLanes,
                                    .lane_bytes = 1,
                                    .takes_bfloat16 = true,
                                    .dot_rows = kFewRows,
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
                                    .take_sums = take_sums,
                                    .finish = finish_sums};

}  // namespace

const FloatProduct& float_product_avx512_bf16_functions() noexcept { return kPairProduct; }

}  // namespace torchao_cpp
