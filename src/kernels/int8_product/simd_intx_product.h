// SPDX-License-Identifier: Apache-2.0
#pragma once

// Rows of IntxRows as vectors of signed bytes, and their product with few rows of x, for the
// instruction set of the SimdBytes included before. Sums are of
// x + kXOffset.

#include <type_traits>

#include "kernels/int8_product/intx_product.h"
#include "kernels/int8_product/simd_packed_x.h"
#include "kernels/simd/simd_epilogue.h"

namespace torchao_cpp {
namespace {

using Floats = Simd::Floats;

/// Vectors that one round of a reader gives: those of a word of the 1-bit plane.
constexpr int kRound = 8;
constexpr std::int64_t kRoundColumns = kRound * kBytes;

template <int kBits>
class IntxReader {
 public:
  /// `ahead`: bytes from what is read to what is asked for.
  TORCHAO_CPP_ALWAYS_INLINE IntxReader(const IntxRows& w, std::int64_t n, std::int64_t ahead)
      : ahead_(ahead),
        plane4_(w.codes + n * w.row_bytes),
        plane2_(plane4_ + ((kBits & 4) != 0 ? rounded_up(w.columns, 2 * kBytes) / 2 : 0)),
        plane1_(plane2_ + ((kBits & 2) != 0 ? rounded_up(w.columns, 4 * kBytes) / 4 : 0)) {}

  /// Codes q + 2^(kBits - 1) of columns (round * kRound + kJ) * kBytes and on. Each round begins
  /// with kJ = 0 and leaves none out.
  template <int kJ>
  TORCHAO_CPP_ALWAYS_INLINE Bytes codes(std::int64_t round) {
    Bytes out{};
    if constexpr ((kBits & 4) != 0) {
      if constexpr (kJ % 2 == 0) four_ = word(plane4_, round * 4 + kJ / 2);
      out = field<4 * (kJ % 2), 0, 0xF>(four_);
    }
    if constexpr ((kBits & 2) != 0) {
      if constexpr (kJ % 4 == 0) two_ = word(plane2_, round * 2 + kJ / 4);
      constexpr int kAt = kBits & 4;
      const Bytes bits = field<2 * (kJ % 4), kAt, 3 << kAt>(two_);
      out = kAt == 0 ? bits : SimdBytes::inclusive_or(out, bits);
    }
    if constexpr ((kBits & 1) != 0) {
      if constexpr (kJ == 0) one_ = word(plane1_, round);
      constexpr int kAt = kBits & 6;
      const Bytes bits = field<kJ, kAt, 1 << kAt>(one_);
      out = kAt == 0 ? bits : SimdBytes::inclusive_or(out, bits);
    }
    return out;
  }

 private:
  TORCHAO_CPP_ALWAYS_INLINE Bytes word(const std::byte* plane, std::int64_t u) const {
    prefetch_far(plane + u * kBytes + ahead_);
    return SimdBytes::load(plane + u * kBytes);
  }
  // Bits from kFrom on, moved to kTo; kMask is what they cover there.
  template <int kFrom, int kTo, int kMask>
  TORCHAO_CPP_ALWAYS_INLINE static Bytes field(Bytes v) {
    if constexpr (kFrom > kTo) v = SimdBytes::shift_right16(v, kFrom - kTo);
    if constexpr (kFrom < kTo) v = SimdBytes::shift_left16(v, kTo - kFrom);
    return SimdBytes::bits_of(v, kMask);
  }

  std::int64_t ahead_;
  const std::byte* plane4_;
  const std::byte* plane2_;
  const std::byte* plane1_;
  Bytes four_, two_, one_;
};

/// Calls fn.template operator()<kBits>().
template <typename F>
void with_bits(int bits, const F& fn) {
  switch (bits) {
    case 1:
      return fn.template operator()<1>();
    case 2:
      return fn.template operator()<2>();
    case 3:
      return fn.template operator()<3>();
    case 4:
      return fn.template operator()<4>();
    case 5:
      return fn.template operator()<5>();
    case 6:
      return fn.template operator()<6>();
    default:
      return fn.template operator()<7>();
  }
}

/// Calls fn.template operator()<kJ>() for kJ = 0 .. count, count <= kRound.
template <int kJ = 0, typename F>
TORCHAO_CPP_ALWAYS_INLINE void for_vectors(std::int64_t count, const F& fn) {
  if constexpr (kJ < kRound) {
    if (kJ >= count) return;
    fn.template operator()<kJ>();
    for_vectors<kJ + 1>(count, fn);
  }
}

TORCHAO_CPP_ALWAYS_INLINE float scale_at(const IntxRows& w, std::int64_t i) {
  if (!w.has_bfloat16_scales) return static_cast<const float*>(w.scale)[i];
  const std::uint32_t bits =
      static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(w.scale)[i]) << 16;
  float v;
  std::memcpy(&v, &bits, sizeof(v));
  return v;
}

/// What is subtracted from codes, and the scale, of one vector: one group, or with kHalves two.
template <bool kHalves>
struct GroupVectors {
  const IntxRows& w;
  std::int64_t first;  ///< Of the row's groups among all.
  std::int8_t offset;  ///< 2^(bits - 1)

  TORCHAO_CPP_ALWAYS_INLINE GroupVectors(const IntxRows& weight, std::int64_t n)
      : w(weight),
        first(n * weight.groups),
        offset(static_cast<std::int8_t>(1 << (weight.bits - 1))) {}

  TORCHAO_CPP_ALWAYS_INLINE Bytes base(std::int64_t group) const {
    if (w.zero == nullptr) return SimdBytes::set1(offset);
    const auto at = [&](std::int64_t g) {
      return static_cast<std::int8_t>(offset + w.zero[first + g]);
    };
    if constexpr (kHalves) return SimdBytes::set_halves(at(group), at(second(group)));
    return SimdBytes::set1(at(group));
  }
  TORCHAO_CPP_ALWAYS_INLINE Floats scales(std::int64_t group) const {
    const float scale = scale_at(w, first + group);
    if constexpr (kHalves) return SimdBytes::set_halves(scale, scale_at(w, first + second(group)));
    return Simd::set1(scale);
  }

 private:
  /// The group of the second half; a row may end with the first.
  std::int64_t second(std::int64_t group) const { return smaller(group + 1, w.groups - 1); }
};

// One row. kHalves: groups are half a vector; else `per_group` vectors.
template <int kBits, int kM, bool kHalves>
TORCHAO_CPP_ALWAYS_INLINE void intx_dot_row(const IntxRows& w, std::int64_t n,
                                            const std::byte* const (&x)[kM], std::int64_t per_group,
                                            Floats (&sums)[kM]) {
  IntxReader<kBits> reader(w, n, kDotAhead);
  const GroupVectors<kHalves> groups(w, n);
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kM; ++i) sums[i] = Simd::zero();
  Ints acc[kM];
  std::int64_t group = 0, left = 0;
  Bytes base{};
  const std::int64_t vectors = (w.columns + kBytes - 1) / kBytes;
  for (std::int64_t v0 = 0; v0 < vectors; v0 += kRound) {
    for_vectors(
        vectors - v0, [&]<int kJ>() __attribute__((always_inline)) {
          const std::int64_t at = (v0 + kJ) * kBytes;
          if (left == 0) {
            TORCHAO_CPP_UNROLL
            for (int i = 0; i < kM; ++i) acc[i] = SimdBytes::zero();
            base = groups.base(group);
            left = per_group;
          }
          const Bytes codes = SimdBytes::subtract(reader.template codes<kJ>(v0 / kRound), base);
          TORCHAO_CPP_UNROLL
          for (int i = 0; i < kM; ++i)
            acc[i] = SimdBytes::dot4_codes(acc[i], SimdBytes::load(x[i] + at), codes);
          --left;
          if (left == 0 || v0 + kJ + 1 == vectors) {
            const Floats scale = groups.scales(group);
            TORCHAO_CPP_UNROLL
            for (int i = 0; i < kM; ++i)
              sums[i] = Simd::fma(SimdBytes::to_floats(acc[i]), scale, sums[i]);
            group += kHalves ? 2 : 1;
          }
        });
  }
}

template <int kBits, int kM, bool kHalves>
[[gnu::noinline]] void intx_dot_rows(const IntxRows& w, std::int64_t n0, std::int64_t count,
                                     const std::byte* x, std::int64_t m, float* out) {
  const std::byte* rows[kM];
  TORCHAO_CPP_UNROLL
  for (int i = 0; i < kM; ++i) rows[i] = x + smaller(i, m - 1) * dot_stride(w.columns);
  // One group a row ends with the row, whole vector or not.
  const std::int64_t per_group = kHalves ? 1 : (w.group_columns + kBytes - 1) / kBytes;
  for (std::int64_t i = 0; i < count; ++i) {
    Floats sums[kM];
    intx_dot_row<kBits, kM, kHalves>(w, n0 + i, rows, per_group, sums);
    TORCHAO_CPP_UNROLL
    for (int r = 0; r < kM; ++r)
      if (r < m) out[r * count + i] = Simd::sum(sums[r]);
  }
}

template <int kBits, bool kHalves>
void intx_dot_few(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
                  std::int64_t m, float* out) {
  if (m == 1) return intx_dot_rows<kBits, 1, kHalves>(w, n0, count, x, m, out);
  if (m <= 4) return intx_dot_rows<kBits, 4, kHalves>(w, n0, count, x, m, out);
  intx_dot_rows<kBits, kDotRows, kHalves>(w, n0, count, x, m, out);
}

void intx_dot(const IntxRows& w, std::int64_t n0, std::int64_t count, const std::byte* x,
              std::int64_t m, float* out) {
  with_bits(w.bits, [&]<int kBits>() {
    if (w.groups > 1 && w.group_columns < kBytes) {
      intx_dot_few<kBits, true>(w, n0, count, x, m, out);
    } else {
      intx_dot_few<kBits, false>(w, n0, count, x, m, out);
    }
  });
}

/// Row n's columns k0 .. k1 (whole rounds but for the row's end) as q - zero into `put(vector,
/// codes)`; `ahead` as IntxReader has it.
template <int kBits, typename Put>
TORCHAO_CPP_ALWAYS_INLINE void read_intx(const IntxRows& w, std::int64_t n, std::int64_t k0,
                                         std::int64_t k1, std::int64_t ahead, const Put& put) {
  IntxReader<kBits> reader(w, n, ahead);
  const bool is_half = w.groups > 1 && w.group_columns < kBytes;
  const GroupVectors<false> whole(w, n);
  const GroupVectors<true> halves(w, n);
  const std::int64_t end = (k1 + kBytes - 1) / kBytes;
  for (std::int64_t v0 = k0 / kBytes; v0 < end; v0 += kRound) {
    for_vectors(
        end - v0, [&]<int kJ>() __attribute__((always_inline)) {
          const Bytes codes = reader.template codes<kJ>(v0 / kRound);
          const std::int64_t group = w.groups == 1 ? 0 : (v0 + kJ) * kBytes / w.group_columns;
          put(v0 + kJ,
              SimdBytes::subtract(codes, is_half ? halves.base(group) : whole.base(group)));
        });
  }
}

}  // namespace
}  // namespace torchao_cpp
