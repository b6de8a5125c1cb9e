// SPDX-License-Identifier: Apache-2.0
#include "workflows/int4/int4_choose_qparams.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/affine.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "core/hqq_quant.h"
#include "workflows/int4/int4_packing.h"

namespace torchao_cpp {
namespace {

// Smallest range of a group, so that constant groups keep a finite step.
constexpr float kMinRange = 1e-6f;

template <bool kHasNan>
[[gnu::always_inline]] inline std::int8_t code_of(float v, float low, float high,
                                                  std::uint32_t offset) noexcept {
  const float upper = v < low ? low : v;
  const float within = upper > high ? high : upper;
  return static_cast<std::int8_t>(!kHasNan || v == v ? low_bits_of_rounded(within) - offset : 0u);
}

template <bool kHasNan>
[[gnu::always_inline]] inline void quantize_all_from(const float* w, std::int64_t count, float lo,
                                                     float s, std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i)
    codes[i] = code_of<kHasNan>((w[i] - lo) / s, 0.0f, 15.0f, 8);
}

// Codes of the products with the rounded 1 / s in place of the quotients; from the smallest element
// on, both are 0 to 15 but for roundings, and need no clamping. A product is no further
// than 2e-6 from the quotient, so their codes agree unless the product is that close to the middle
// between two codes. Gives whether none is.
[[gnu::always_inline]] inline bool multiply_all_from(const float* w, std::int64_t count, float lo,
                                                     float reciprocal,
                                                     std::int8_t* codes) noexcept {
  std::int32_t furthest = 0;  // from a code, as bits
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = (w[i] - lo) * reciprocal;
    const std::int32_t distance = std::bit_cast<std::int32_t>(v - round_half_even(v)) & 0x7fffffff;
    furthest = distance > furthest ? distance : furthest;
    codes[i] = static_cast<std::int8_t>(low_bits_of_rounded(v) - 8u);
  }
  return furthest < std::bit_cast<std::int32_t>(0.49999f);
}

// A finite scale leaves no NaN: it is above zero, and both ends are finite too.
TORCHAO_CPP_VECTOR_CLONES void quantize_from(const float* w, std::int64_t count, float lo, float s,
                                             std::int8_t* codes) noexcept {
  if (s - s != 0.0f) return quantize_all_from<true>(w, count, lo, s, codes);
  const float reciprocal = 1.0f / s;
  const bool agree = count == 32    ? multiply_all_from(w, 32, lo, reciprocal, codes)
                     : count == 128 ? multiply_all_from(w, 128, lo, reciprocal, codes)
                                    : multiply_all_from(w, count, lo, reciprocal, codes);
  if (!agree) quantize_all_from<false>(w, count, lo, s, codes);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_symmetric(const float* w, std::int64_t count, float s,
                                                  std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i) codes[i] = code_of<true>(w[i] / s, -8.0f, 7.0f, 0);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_tinygemm_bf16(const float* w, std::int64_t count, float lo,
                                                      float s, std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = round_to(DType::kBFloat16, w[i] - lo) / s;
    codes[i] = code_of<true>(round_to(DType::kBFloat16, v), 0.0f, 15.0f, 0);
  }
}

enum class CodeForm { kBytes, kNibbles };

struct StoredScale {
  float scale;
  float zero_point;
};

float at_least(float v, float bound) noexcept { return v < bound ? bound : v; }

StoredScale quantize_row_zp(const float* w, std::int64_t count, float lo, float s,
                            std::int8_t* codes) noexcept {
  const float offset = s * 8.0f;
  quantize_from(w, count, lo, s, codes);
  return {s, lo + offset};
}

// Calls fn(w, lo, hi, g, codes) for every group g, numbered along rows: its elements in float32,
// their ends (NaN for both where one is NaN), and room for its codes. Elements and codes of a few
// groups at a time stay in the first cache; packed codes leave it as nibbles.
template <typename F>
Int4Groups quantize_groups(const Tensor& weight, std::int64_t size, CodeForm form,
                           DType stored_dtype, const F& fn) {
  const DType dtype = weight.dtype();
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t columns = k / size;
  const std::int64_t element_bytes = dtype_size_bytes(dtype);
  const bool is_packed = form == CodeForm::kNibbles;
  Int4Groups out{Tensor::empty(DType::kInt8, {n, is_packed ? k / 2 : k}),
                 Tensor::empty(stored_dtype, {n, columns}),
                 Tensor::empty(stored_dtype, {n, columns})};
  std::byte* const scale = out.scale.mutable_bytes();
  std::byte* const zero_point = out.zero_point.mutable_bytes();
  auto* const stored = out.codes.mutable_data<std::int8_t>();
  constexpr std::int64_t kElements = 4096;
  // Even, so that a byte of two codes lies in one round, or all of the row.
  const std::int64_t at_once = std::max<std::int64_t>(kElements / size / 2 * 2, size % 2 + 1);
  const std::int64_t rounds = (n * columns + at_once - 1) / at_once;
  const std::int64_t grain = std::max<std::int64_t>(1, 65536 / (at_once * size));
  parallel_for(rounds, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> w(static_cast<std::size_t>(at_once * size));
    std::vector<std::int8_t> codes(is_packed ? w.size() : 0);
    std::vector<float> lo(static_cast<std::size_t>(at_once));
    std::vector<float> hi(lo.size());
    for (std::int64_t first = begin * at_once; first < std::min(end * at_once, n * columns);
         first += at_once) {
      const std::int64_t count = std::min(at_once, n * columns - first);
      load_floats(dtype, weight.bytes(), first * size, count * size, w.data());
      group_min_max(dtype, weight.bytes(), first * size, count, size, lo.data(), hi.data());
      std::int8_t* const to = is_packed ? codes.data() : stored + first * size;
      for (std::int64_t g = 0; g < count; ++g) {
        const auto at = static_cast<std::size_t>(g);
        // What the next round reads comes while this one computes.
        for (std::int64_t line = 0; line < size * element_bytes; line += 64)
          __builtin_prefetch(weight.bytes() + (first + g + at_once) * size * element_bytes + line);
        const StoredScale q = fn(w.data() + g * size, lo[at], hi[at], to + g * size);
        store_float(stored_dtype, scale, first + g, q.scale);
        store_float(stored_dtype, zero_point, first + g, q.zero_point);
      }
      if (is_packed) pack_nibble_run(to, count * size / 2, stored + first * size / 2);
    }
  });
  return out;
}

}  // namespace

Int4Groups quantize_int4_row_zp(const Tensor& weight, std::int64_t group_size) {
  return quantize_groups(weight, group_size, CodeForm::kNibbles, weight.dtype(),
                         [=](const float* w, float lo, float hi, std::int8_t* codes) noexcept {
                           const float s = at_least(hi - lo, kMinRange) / 15.0f;
                           return quantize_row_zp(w, group_size, lo, s, codes);
                         });
}

Int4Groups quantize_int4_row_zp_gpu(const Tensor& weight, std::int64_t group_size) {
  return quantize_groups(weight, group_size, CodeForm::kNibbles, DType::kBFloat16,
                         [=](const float* w, float lo, float hi, std::int8_t* codes) noexcept {
                           const float s = at_least(hi - lo, kMinRange) * (1.0f / 15.0f);
                           return quantize_row_zp(w, group_size, lo, s, codes);
                         });
}

Int4Groups quantize_int4_row_symmetric(const Tensor& weight, std::int64_t group_size) {
  return quantize_groups(
      weight, group_size, CodeForm::kNibbles, weight.dtype(),
      [group_size](const float* w, float lo, float hi, std::int8_t* codes) noexcept {
        const float amax = -lo > hi ? -lo : hi;
        const float s = at_least(std::fabs(amax), kMinRange) / 8.0f;
        quantize_symmetric(w, group_size, s, codes);
        return StoredScale{s, 0.0f};
      });
}

Int4Groups quantize_int4_tinygemm(const Tensor& weight, std::int64_t group_size) {
  const DType dtype = weight.dtype();
  const auto rnd = [dtype](float v) { return round_to(dtype, v); };
  const float eps = dtype == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
  return quantize_groups(weight, group_size, CodeForm::kBytes, dtype,
                         [=](const float* w, float low, float high, std::int8_t* codes) noexcept {
                           const float s = at_least(rnd(rnd(high - low) / 15.0f), eps);
                           const float offset = rnd(s * 8.0f);
                           const float z = rnd(low + offset);
                           const float lo = rnd(z - offset);
                           if (dtype == DType::kBFloat16) {
                             quantize_tinygemm_bf16(w, group_size, lo, s, codes);
                           } else {
                             for (std::int64_t i = 0; i < group_size; ++i)
                               codes[i] = code_of<true>(rnd(rnd(w[i] - lo) / s), 0.0f, 15.0f, 0);
                           }
                           return StoredScale{s, z};
                         });
}

Int4Groups quantize_int4_hqq(const Tensor& weight, std::int64_t group_size) {
  const HqqGroups hqq = quantize_hqq(weight, group_size);
  Int4Groups out{hqq.codes, Tensor::empty(weight.dtype(), hqq.scale.shape()),
                 Tensor::empty(weight.dtype(), hqq.scale.shape())};
  std::byte* scale = out.scale.mutable_bytes();
  std::byte* zero_point = out.zero_point.mutable_bytes();
  for (std::int64_t g = 0; g < hqq.scale.numel(); ++g) {
    const float s = hqq.scale.data<float>()[g];
    store_float(weight.dtype(), scale, g, s);
    store_float(weight.dtype(), zero_point, g, (8.0f - hqq.zero.data<float>()[g]) * s);
  }
  return out;
}

}  // namespace torchao_cpp
