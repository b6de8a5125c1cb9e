// SPDX-License-Identifier: Apache-2.0
#pragma once

// The functions of a FloatProduct, for the instruction set of the Simd included before.

#include "kernels/float_product/simd_code_reader.h"
#include "kernels/float_product/simd_gemm.h"

namespace torchao_cpp {
namespace {

/// Sums of one weight row with M rows of x.
template <int kM>
struct DotSink {
  static constexpr int kSums = kM * kUnroll <= Simd::kDotSums     ? kUnroll
                               : kM * kUnroll / 2 <= Simd::kDotSums ? kUnroll / 2
                                                                  : 1;
  const float* x[kM];
  Floats sums[kM][kSums];

  TORCHAO_CPP_ALWAYS_INLINE DotSink(const float* first, std::int64_t stride, std::int64_t m) {
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) {
      x[i] = first + smaller(i, m - 1) * stride;
      TORCHAO_CPP_UNROLL
      for (int u = 0; u < kSums; ++u) sums[i][u] = Simd::zero();
    }
  }

  template <int kStep>
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Floats w) {
    constexpr int kU = kStep % kSums;
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i) sums[i][kU] = Simd::fma(w, Simd::load(x[i] + k), sums[i][kU]);
  }
  TORCHAO_CPP_ALWAYS_INLINE void step_first(std::int64_t k, Floats w, std::int64_t count) {
    TORCHAO_CPP_UNROLL
    for (int i = 0; i < kM; ++i)
      sums[i][0] = Simd::fma(w, Simd::load_first(x[i] + k, count), sums[i][0]);
  }

  float sum(int i) const {
    Floats total = sums[i][0];
    TORCHAO_CPP_UNROLL
    for (int u = 1; u < kSums; ++u) total = Simd::add(total, sums[i][u]);
    return Simd::sum(total);
  }
};

/// A row as floats.
struct StoreSink {
  float* out;  ///< Of column 0.

  template <int kStep>
  TORCHAO_CPP_ALWAYS_INLINE void step(std::int64_t k, Floats w) {
    Simd::store(out + k, w);
  }
  TORCHAO_CPP_ALWAYS_INLINE void step_first(std::int64_t k, Floats w, std::int64_t count) {
    Simd::store_first(out + k, w, count);
  }
};

constexpr std::int64_t kDotRows = 8;

// Columns at a time, so that kM rows of x stay in the first-level cache: a multiple of the 8 * kLanes
// that packed fields ask for.
template <int kM>
constexpr std::int64_t kDotColumns = 8192 / kM;

template <typename Codes, int kM>
[[gnu::noinline]] void dot_rows(const CodeRows& w, std::int64_t n0, std::int64_t count,
                                const float* x, std::int64_t m, float* scratch, float* sums) {
  // What is read next: the same columns of the next row, or what follows in memory.
  const std::int64_t ahead = w.columns <= kDotColumns<kM> ? 1024 : w.row_bytes;
  for (std::int64_t k0 = 0; k0 < w.columns; k0 += kDotColumns<kM>) {
    const std::int64_t k1 = smaller(w.columns, k0 + kDotColumns<kM>);
    for (std::int64_t i = 0; i < count; ++i) {
      const RowScales scales = read_scales(w, n0 + i, k0, k1, scratch);
      DotSink<kM> sink(x, w.columns, m);
      Codes::read(w, scales, n0 + i, k0, k1, ahead, sink);
      TORCHAO_CPP_UNROLL
      for (int r = 0; r < kM; ++r) {
        if (r < m) {
          float& sum = sums[r * count + i];
          sum = k0 == 0 ? sink.sum(r) : sum + sink.sum(r);
        }
      }
    }
  }
}

std::int64_t dot_scratch(const CodeRows& w) noexcept { return scale_floats(w); }

void dot(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* floats,
         std::int64_t m, float* scratch, float* sums) noexcept {
  const auto* x = static_cast<const float*>(floats);
  with_codes(w, [&]<typename Codes>() {
    if (m == 1) return dot_rows<Codes, 1>(w, n0, count, x, m, scratch, sums);
    if (m <= 4) return dot_rows<Codes, 4>(w, n0, count, x, m, scratch, sums);
    dot_rows<Codes, kDotRows>(w, n0, count, x, m, scratch, sums);
  });
}

std::int64_t packed_x_bytes(std::int64_t m, std::int64_t columns) noexcept {
  return panel_floats(m, columns) * static_cast<std::int64_t>(sizeof(float));
}

template <CodeForm kForm>
void pack_panel(const std::byte* x, std::int64_t m, std::int64_t columns, std::int64_t panel,
                float* out) {
  constexpr std::int64_t kBytes = code_bytes<kForm>();
  for (int half = 0; half < 2; ++half) {
    const std::int64_t m0 = panel * kPanel + half * kLanes;
    for (std::int64_t k = 0; k < columns; k += kLanes) {
      const std::int64_t count = smaller(kLanes, columns - k);
      Floats v[kLanes];
      TORCHAO_CPP_UNROLL
      for (int i = 0; i < kLanes; ++i) {
        const std::byte* from = x + ((m0 + i) * columns + k) * kBytes;
        if (m0 + i >= m) {
          v[i] = Simd::zero();
        } else if (count == kLanes) {
          v[i] = load_codes<kForm>(from);
        } else {
          alignas(64) std::byte rest[kLanes * 4] = {};
          std::memcpy(rest, from, static_cast<std::size_t>(count * kBytes));
          v[i] = load_codes<kForm>(rest);
        }
      }
      Simd::transpose(v);
      for (std::int64_t i = 0; i < count; ++i)
        Simd::store(out + (k + i) * kPanel + half * kLanes, v[i]);
    }
  }
}

void pack_x(const CodeRows& w, const void* x, CodeForm form, std::int64_t m, std::int64_t panel,
            void* packed) noexcept {
  const std::int64_t columns = w.columns;
  const auto* from = static_cast<const std::byte*>(x);
  float* to = static_cast<float*>(packed) + panel * kPanel * columns;
  if (form == CodeForm::kBFloat16) {
    pack_panel<CodeForm::kBFloat16>(from, m, columns, panel, to);
  } else {
    pack_panel<CodeForm::kFloat32>(from, m, columns, panel, to);
  }
}

struct MultiplyFloats {
  TORCHAO_CPP_ALWAYS_INLINE static Floats add(Floats sum, Floats w, Floats x) {
    return Simd::fma(w, x, sum);
  }
};

std::int64_t gemm_scratch(const CodeRows& w, std::int64_t m) noexcept {
  return rounded_up(scale_floats(w), 16) + block_floats(m);
}

template <typename Codes>
[[gnu::noinline]] void take_apart(const CodeRows& w, std::int64_t n0, const GemmBlock& block,
                                  float* scales, float* out) {
  const std::int64_t k0 = block.word;
  const std::int64_t k1 = k0 + block.words;
  const std::int64_t ahead = block.bytes_ahead(w.row_bytes, w.columns);
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const std::int64_t n = n0 + block.row + i;
    StoreSink sink{out + i * kGemmStride - k0};
    Codes::read(w, read_scales(w, n, k0, k1, scales), n, k0, k1, ahead, sink);
  }
}

void gemm(const CodeRows& w, std::int64_t n0, std::int64_t count, const void* packed_x,
          std::int64_t m, float* scratch) noexcept {
  multiply_block<MultiplyFloats>(
      count, w.columns, static_cast<const float*>(packed_x), m,
      scratch + rounded_up(scale_floats(w), 16), [&](const GemmBlock& block, float* weight) {
        with_codes(w, [&]<typename Codes>() {
          take_apart<Codes>(w, n0, block, scratch, weight);
        });
      });
}

void take_sums(const CodeRows& w, std::int64_t count, std::int64_t m, const float* scratch,
               std::int64_t m0, std::int64_t rows, float* sums) noexcept {
  take_block_sums(scratch + rounded_up(scale_floats(w), 16), m, count, m0, rows, sums);
}

constexpr FloatProduct kFloatProduct{.lanes = kLanes,
                                     .dot_rows = kDotRows,
                                     .gemm_rows = kGemmBlock,
                                     .dot_scratch = dot_scratch,
                                     .gemm_scratch = gemm_scratch,
                                     .dot = dot,
                                     .packed_x_bytes = packed_x_bytes,
                                     .x_panels = x_panels,
                                     .pack_x = pack_x,
                                     .gemm = gemm,
                                     .take_sums = take_sums,
                                     .finish = finish_sums};

}  // namespace
}  // namespace torchao_cpp
