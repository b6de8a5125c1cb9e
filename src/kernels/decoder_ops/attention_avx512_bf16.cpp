// SPDX-License-Identifier: Apache-2.0
// Compiled for AVX-512 with BF16 (see CMakeLists.txt); nothing but the function below leaves this
// file.
namespace torchao_cpp {
namespace {
constexpr int kLanes = 16;
}
}  // namespace torchao_cpp
// kLanes first.
#include "kernels/decoder_ops/attention_lanes.h"

#include <immintrin.h>

namespace torchao_cpp {
namespace {

/// 32 bfloat16: pairs of neighbours along the sum, one of each of 16 columns.
using Pairs = __m512i;

#define TORCHAO_CPP_INLINE [[gnu::always_inline]] inline

TORCHAO_CPP_INLINE __m512 add_products(__m512 sum, Pairs a, Pairs b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

/// Two rows of 32 columns as pairs. Unpacking leaves the columns in the order
/// 0..3, 8..11, 16..19, 24..27 and 4..7, 12..15, 20..23, 28..31.
TORCHAO_CPP_INLINE void pair_rows(__m512i first, __m512i second, Pairs (&out)[2]) {
  out[0] = _mm512_unpacklo_epi16(first, second);
  out[1] = _mm512_unpackhi_epi16(first, second);
}
/// 32 sums between that order and the natural one.
TORCHAO_CPP_INLINE void to_natural(__m512 (&v)[2]) {
  const __m512d a = _mm512_castps_pd(v[0]), b = _mm512_castps_pd(v[1]);
  v[0] =
      _mm512_castpd_ps(_mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), b));
  v[1] =
      _mm512_castpd_ps(_mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), b));
}
TORCHAO_CPP_INLINE void from_natural(__m512 (&v)[2]) {
  const __m512d a = _mm512_castps_pd(v[0]), b = _mm512_castps_pd(v[1]);
  v[0] =
      _mm512_castpd_ps(_mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), b));
  v[1] =
      _mm512_castpd_ps(_mm512_permutex2var_pd(a, _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15), b));
}

/// Two neighbours of bfloat16 values that are stored as float32, in every lane.
TORCHAO_CPP_INLINE Pairs pair_of(const float* two) {
  const __m512i bytes = _mm512_set4_epi32(0x0F0E0B0A, 0x07060302, 0x0F0E0B0A, 0x07060302);
  std::int64_t bits;
  std::memcpy(&bits, two, sizeof(bits));
  return _mm512_shuffle_epi8(_mm512_set1_epi64(bits), bytes);
}

/// Attention of bfloat16 with products of pairs. Keys and values are paired when they are read; for
/// many rows once, into `block`. Both ways add up in the same order. Probabilities are rounded to
/// bfloat16, as torch's kernel does. head_dim is a multiple of 32.
class PairSpan : private AttentionSpan<BFloat16> {
 public:
  using AttentionSpan::AttentionSpan;

  void run(std::int64_t begin, std::int64_t end) const {
    clear();
    const std::int64_t head_dim = rows_.head_dim;
    const bool is_packed = count_ >= kWidenRows;
    for (std::int64_t start = begin; start < end; start += kKeyBlock) {
      const auto* keys = static_cast<const Storage*>(rows_.keys) + start * head_dim;
      const auto* values = static_cast<const Storage*>(rows_.values) + start * head_dim;
      const auto* next = start + kKeyBlock < end ? keys + kKeyBlock * head_dim : keys;
      if (is_packed) {
        pack(keys, head_dim, kKeyBlock);
        for_row_tiles([&]<int R>(std::int64_t r) { score<R>(Packed{packed(), kKeyBlock}, r); });
      } else {
        for_row_tiles([&]<int R>(std::int64_t r) {
          score<R>(Stored{keys, kKeyBlock, values - keys}, r);
        });
      }
      softmax_block(start);
      for (std::int64_t r = 0; r < count_; ++r) round_probabilities(r);
      if (is_packed) pack(values, kKeyBlock, head_dim);
      for_seeing_tiles(start, [&]<int R>(std::int64_t r, std::int64_t n) {
        const Stored stored{values, head_dim, next - values};
        if (is_packed) {
          weigh<R>(Packed{packed(), head_dim}, stored, r, n);
        } else {
          weigh<R>(stored, stored, r, n);
        }
      });
    }
  }

 private:
  /// Pairs of the rows of a block as they are stored, [depth, columns].
  struct Stored {
    const Storage* rows;
    std::int64_t columns;
    std::int64_t ahead;  ///< Elements to what is read next, and fetched.

    TORCHAO_CPP_INLINE void pairs(std::int64_t pair, std::int64_t column, Pairs (&out)[2]) const {
      const Storage* at = rows + 2 * pair * columns + column;
      __builtin_prefetch(at + ahead, 0, 2);
      __builtin_prefetch(at + ahead + columns, 0, 2);
      pair_rows(_mm512_loadu_si512(at), _mm512_loadu_si512(at + columns), out);
    }
  };
  /// As pack() leaves them.
  struct Packed {
    const std::uint32_t* words;
    std::int64_t columns;

    TORCHAO_CPP_INLINE void pairs(std::int64_t pair, std::int64_t column, Pairs (&out)[2]) const {
      const std::uint32_t* at = words + pair * columns + column;
      out[0] = _mm512_loadu_si512(at);
      out[1] = _mm512_loadu_si512(at + 16);
    }
  };

  std::uint32_t* packed() const { return reinterpret_cast<std::uint32_t*>(block_); }
  void pack(const Storage* from, std::int64_t depth, std::int64_t columns) const {
    std::uint32_t* to = packed();
    for (std::int64_t k = 0; k < depth; k += 2, from += 2 * columns) {
      for (std::int64_t j = 0; j < columns; j += 32, to += 32) {
        Pairs out[2];
        pair_rows(_mm512_loadu_si512(from + j), _mm512_loadu_si512(from + columns + j), out);
        _mm512_storeu_si512(to, out[0]);
        _mm512_storeu_si512(to + 16, out[1]);
      }
    }
  }

  template <int R, typename Block>
  [[gnu::noinline]] void score(const Block& keys, std::int64_t r) const {
    __m512 sums[R][2][2];
    const float* queries[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      queries[i] = q(r + i);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) sums[i][h][0] = sums[i][h][1] = _mm512_setzero_ps();
    }
    for (std::int64_t d = 0; d < rows_.head_dim; d += 2) {
      Pairs columns[2][2];
      keys.pairs(d / 2, 0, columns[0]);
      keys.pairs(d / 2, 32, columns[1]);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const Pairs two = pair_of(queries[i] + d);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          sums[i][h][0] = add_products(sums[i][h][0], columns[h][0], two);
          sums[i][h][1] = add_products(sums[i][h][1], columns[h][1], two);
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        to_natural(sums[i][h]);
        float* to = scores_ + (r + i) * kKeyBlock + 32 * h;
        _mm512_storeu_ps(to, sums[i][h][0]);
        _mm512_storeu_ps(to + 16, sums[i][h][1]);
      }
    }
  }

  // The probabilities of a row as kKeyBlock / 2 words, in place.
  void round_probabilities(std::int64_t r) const {
    float* row = scores_ + r * kKeyBlock;
    for (int i = 0; i < kKeyBlock; i += 32) {
      const __m512bh pairs =
          _mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + i + 16), _mm512_loadu_ps(row + i));
      _mm512_storeu_si512(row + i / 2, reinterpret_cast<__m512i>(pairs));
    }
  }

  // `stored`: for the last of an odd number of keys, whose neighbour may not be read.
  template <int R, typename Block>
  void weigh(const Block& values, const Stored& stored, std::int64_t r, std::int64_t n) const {
    std::int64_t j = 0;
    for (; j + 64 <= rows_.head_dim; j += 64) weigh_columns<R, 2>(values, stored, r, n, j);
    if (j < rows_.head_dim) weigh_columns<R, 1>(values, stored, r, n, j);
  }

  // 32 * H columns from j on.
  template <int R, int H, typename Block>
  [[gnu::noinline]] void weigh_columns(const Block& values, const Stored& stored, std::int64_t r,
                                       std::int64_t n, std::int64_t j) const {
    __m512 sums[R][H][2];
    const float* weights[R];
    float* out[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      weights[i] = scores_ + (r + i) * kKeyBlock;
      out[i] = out_.values + (r + i) * rows_.head_dim + j;
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        sums[i][h][0] = _mm512_loadu_ps(out[i] + 32 * h);
        sums[i][h][1] = _mm512_loadu_ps(out[i] + 32 * h + 16);
        from_natural(sums[i][h]);
      }
    }
    Pairs columns[H][2];
    const auto add = [&](std::int64_t pair) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const Pairs two = _mm512_castps_si512(_mm512_set1_ps(weights[i][pair]));
#pragma GCC unroll 2
        for (int h = 0; h < H; ++h) {
          sums[i][h][0] = add_products(sums[i][h][0], columns[h][0], two);
          sums[i][h][1] = add_products(sums[i][h][1], columns[h][1], two);
        }
      }
    };
    for (std::int64_t pair = 0; pair < n / 2; ++pair) {
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) values.pairs(pair, j + 32 * h, columns[h]);
      add(pair);
    }
    if (n % 2 != 0) {
      const Storage* last = stored.rows + (n - 1) * stored.columns + j;
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h)
        pair_rows(_mm512_loadu_si512(last + 32 * h), _mm512_setzero_si512(), columns[h]);
      add(n / 2);
    }
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 2
      for (int h = 0; h < H; ++h) {
        to_natural(sums[i][h]);
        _mm512_storeu_ps(out[i] + 32 * h, sums[i][h][0]);
        _mm512_storeu_ps(out[i] + 32 * h + 16, sums[i][h][1]);
      }
    }
  }
};

void pair_span(const AttentionRows& rows, std::int64_t begin, std::int64_t end, float* scores,
               float* block, const AttentionSums& out) noexcept {
  if (rows.head_dim % 32 != 0)
    return attention_span<BFloat16>(rows, begin, end, scores, block, out);
  PairSpan(rows, scores, block, out).run(begin, end);
}

}  // namespace

const AttentionKernels& attention_kernels_avx512_bf16(DType dtype) noexcept {
  static constexpr AttentionKernels kKernels{pair_span, attention_merge, attention_store<BFloat16>};
  return dtype == DType::kBFloat16 ? kKernels : attention_kernels_here(dtype);
}

}  // namespace torchao_cpp
