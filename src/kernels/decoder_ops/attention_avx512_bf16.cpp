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
    if (is_packed) pack_queries();
    for (std::int64_t start = begin; start < end; start += kKeyBlock) {
      const auto* keys = static_cast<const Storage*>(rows_.keys) + start * head_dim;
      const auto* values = static_cast<const Storage*>(rows_.values) + start * head_dim;
      const auto* next = start + kKeyBlock < end ? keys + kKeyBlock * head_dim : keys;
      if (is_packed) {
        pack(keys, head_dim, kKeyBlock);
        for_row_tiles([&]<int R>(std::int64_t r) {
          score<R>(Packed{packed(), kKeyBlock}, PackedQueries{queries(), head_dim / 2}, r);
        });
      } else {
        for_row_tiles([&]<int R>(std::int64_t r) {
          score<R>(Stored{keys, kKeyBlock, values - keys}, StoredQueries{*this}, r);
        });
      }
      softmax_block(start);
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

  // After the packed block: pairs of every row, [rows, head_dim / 2].
  std::uint32_t* queries() const { return packed() + kKeyBlock / 2 * rows_.head_dim; }
  void pack_queries() const {
    std::uint32_t* to = queries();
    for (std::int64_t r = 0; r < count_; ++r) {
      const float* from = q(r);
      for (std::int64_t d = 0; d < rows_.head_dim; d += 32, to += 16) {
        const __m512bh pairs =
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + d + 16), _mm512_loadu_ps(from + d));
        _mm512_storeu_si512(to, reinterpret_cast<__m512i>(pairs));
      }
    }
  }

  /// Queries as they are given.
  struct StoredQueries {
    const PairSpan& span;
    using Row = const float*;
    TORCHAO_CPP_INLINE Row row(std::int64_t r) const { return span.q(r); }
    TORCHAO_CPP_INLINE static Pairs pair(Row row, std::int64_t i) { return pair_of(row + 2 * i); }
  };
  /// As pack_queries() leaves them.
  struct PackedQueries {
    const std::uint32_t* words;
    std::int64_t stride;
    using Row = const std::uint32_t*;
    TORCHAO_CPP_INLINE Row row(std::int64_t r) const { return words + r * stride; }
    TORCHAO_CPP_INLINE static Pairs pair(Row row, std::int64_t i) {
      return _mm512_set1_epi32(static_cast<int>(row[i]));
    }
  };

  template <int R, typename Block, typename Queries>
  [[gnu::noinline]] void score(const Block& keys, const Queries& from, std::int64_t r) const {
    __m512 sums[R][2][2];
    typename Queries::Row queries[R];
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) {
      queries[i] = from.row(r + i);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) sums[i][h][0] = sums[i][h][1] = _mm512_setzero_ps();
    }
    for (std::int64_t pair = 0; pair < rows_.head_dim / 2; ++pair) {
      Pairs columns[2][2];
      keys.pairs(pair, 0, columns[0]);
      keys.pairs(pair, 32, columns[1]);
#pragma GCC unroll 4
      for (int i = 0; i < R; ++i) {
        const Pairs two = Queries::pair(queries[i], pair);
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

  // The scores of the block that starts at `start` become probabilities of bfloat16, kKeyBlock / 2
  // words a row, in place. Two rows at a time: one alone waits for itself.
  void softmax_block(std::int64_t start) const {
    std::int64_t r = 0;
    while (r < count_ && visible(r, start) <= 0) ++r;  // Later rows see more.
    for (; r + 2 <= count_; r += 2) softmax_rows<2>(r, start);
    if (r < count_) softmax_rows<1>(r, start);
  }

  template <int R>
  void softmax_rows(std::int64_t r, std::int64_t start) const {
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(rows_.head_dim));
    __m512 scores[R][4];
    float maximum[R];
    __m512 sum[R];
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i) {
      const float* s = scores_ + (r + i) * kKeyBlock;
      // What the row does not see has no weight.
      const std::uint64_t seen = ~std::uint64_t{0} >> (kKeyBlock - visible(r + i, start));
      __m512 most = _mm512_set1_ps(-__builtin_inff());
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const auto mask = static_cast<__mmask16>(seen >> (16 * v));
        scores[i][v] =
            _mm512_mask_loadu_ps(_mm512_set1_ps(-__builtin_inff()), mask, s + kLanes * v);
        most = _mm512_max_ps(scores[i][v], most);
      }
      const float here = largest_of(reinterpret_cast<Floats>(most)) * scale;
      maximum[i] = here > out_.maximum[r + i] ? here : out_.maximum[r + i];
      sum[i] = _mm512_setzero_ps();
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
#pragma GCC unroll 2
      for (int i = 0; i < R; ++i) {
        scores[i][v] = exp_of_negative(
            _mm512_fmsub_ps(scores[i][v], _mm512_set1_ps(scale), _mm512_set1_ps(maximum[i])));
        sum[i] = _mm512_add_ps(sum[i], scores[i][v]);
      }
    }
#pragma GCC unroll 2
    for (int i = 0; i < R; ++i) {
      auto* out = reinterpret_cast<std::uint32_t*>(scores_ + (r + i) * kKeyBlock);
#pragma GCC unroll 2
      for (int v = 0; v < 4; v += 2) {
        const __m512bh pairs = _mm512_cvtne2ps_pbh(scores[i][v + 1], scores[i][v]);
        _mm512_storeu_si512(out + kLanes / 2 * v, reinterpret_cast<__m512i>(pairs));
      }
      add_block(r + i, maximum[i], sum_of(reinterpret_cast<Floats>(sum[i])));
    }
  }

  // exp_of for x at most a rounding above 0, or NaN: no power of two is out of range.
  TORCHAO_CPP_INLINE static __m512 exp_of_negative(__m512 x) {
    const __m512 least = _mm512_set1_ps(-87.3f);
    const __m512 bounded = _mm512_max_ps(least, x);
    const __m512 whole = _mm512_roundscale_ps(
        _mm512_mul_ps(bounded, _mm512_set1_ps(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 f = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), bounded);
    f = _mm512_fmadd_ps(whole, _mm512_set1_ps(2.12194440e-4f), f);
    __m512 p =
        _mm512_fmadd_ps(f, _mm512_set1_ps(1.9875691500e-4f), _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(f, f), f), _mm512_set1_ps(1.0f));
    const __mmask16 is_kept = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(is_kept, p, whole);
  }

  // The sums of row r become relative to `maximum`; `sum` joins the total.
  void add_block(std::int64_t r, float maximum, float sum) const {
    const float before = out_.maximum[r];
    if (before == maximum || before == -__builtin_inff()) {
      out_.total[r] += sum;  // Nothing before, or nothing to rescale.
    } else {
      const float correction = __builtin_expf(before - maximum);
      out_.total[r] = out_.total[r] * correction + sum;
      float* row = out_.values + r * rows_.head_dim;
      for (std::int64_t i = 0; i < rows_.head_dim; ++i) row[i] *= correction;
    }
    out_.maximum[r] = maximum;
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
