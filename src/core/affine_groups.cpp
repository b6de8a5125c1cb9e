// SPDX-License-Identifier: Apache-2.0
#include "core/affine_groups.h"

#include <array>
#include <bit>
#include <limits>
#include <type_traits>

#include "base/vector_clones.h"
#include "core/float_formats.h"

namespace torchao_cpp {
namespace {

template <DType kDType>
float load(const void* data, std::int64_t i) noexcept {
  return load_float(kDType, data, i);
}

// Smallest and largest of floats by their bits: but for the sign, floats order like integers, and
// integers have a vector minimum whatever NaN would do to one of floats.
template <typename Int>
struct OrderedEnds {
  static constexpr int kSignBit = 8 * sizeof(Int) - 1;
  static constexpr Int kMagnitude = std::numeric_limits<Int>::max();

  // Its own inverse.
  static Int ordered(Int bits) noexcept {
    return static_cast<Int>(bits ^ ((bits >> kSignBit) & kMagnitude));
  }

  [[gnu::always_inline]] static void of_groups(const Int* bits, std::int64_t groups,
                                               std::int64_t size, OrderedEnds* out) noexcept {
    for (std::int64_t g = 0; g < groups; ++g) {
      Int low = kMagnitude;
      Int high = std::numeric_limits<Int>::min();
      for (std::int64_t i = g * size; i < (g + 1) * size; ++i) {
        const Int v = ordered(bits[i]);
        low = v < low ? v : low;
        high = v > high ? v : high;
      }
      out[g] = {low, high};
    }
  }
  // Beyond the infinities are the NaNs of either sign.
  bool has_nan(Int infinity) const noexcept {
    return hi > infinity || lo < ordered(static_cast<Int>(infinity | ~kMagnitude));
  }

  Int lo = 0;
  Int hi = 0;
};

// Calls fn(size) with the usual group sizes as constants: their loops need no rests.
template <typename F>
[[gnu::always_inline]] inline void with_group_size(std::int64_t size, const F& fn) noexcept {
  switch (size) {
    case 32:
      return fn(std::int64_t{32});
    case 64:
      return fn(std::int64_t{64});
    case 128:
      return fn(std::int64_t{128});
    default:
      return fn(size);
  }
}

TORCHAO_CPP_VECTOR_CLONES void ends_of_16_bits(const std::int16_t* bits, std::int64_t groups,
                                               std::int64_t size,
                                               OrderedEnds<std::int16_t>* out) noexcept {
  with_group_size(
      size, [=](std::int64_t count) __attribute__((always_inline)) {
        OrderedEnds<std::int16_t>::of_groups(bits, groups, count, out);
      });
}

TORCHAO_CPP_VECTOR_CLONES void ends_of_32_bits(const std::int32_t* bits, std::int64_t groups,
                                               std::int64_t size,
                                               OrderedEnds<std::int32_t>* out) noexcept {
  with_group_size(
      size, [=](std::int64_t count) __attribute__((always_inline)) {
        OrderedEnds<std::int32_t>::of_groups(bits, groups, count, out);
      });
}

template <DType kDType, typename Int>
[[gnu::always_inline]] inline void floats_of_ends(const OrderedEnds<Int>* ends, std::int64_t groups,
                                                  float* lo, float* hi) noexcept {
  constexpr Int kInfinity = kDType == DType::kFloat32
                                ? static_cast<Int>(0x7f800000)
                                : static_cast<Int>(kDType == DType::kBFloat16 ? 0x7f80 : 0x7c00);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (std::int64_t g = 0; g < groups; ++g) {
    const OrderedEnds<Int>& e = ends[g];
    const Int low = e.ordered(e.lo);
    const Int high = e.ordered(e.hi);
    const bool has_nan = e.has_nan(kInfinity);
    lo[g] = has_nan ? kNan : load_float(kDType, &low, 0);
    hi[g] = has_nan ? kNan : load_float(kDType, &high, 0);
  }
}

TORCHAO_CPP_VECTOR_CLONES void floats_of_bf16_ends(const OrderedEnds<std::int16_t>* ends,
                                                   std::int64_t groups, float* lo,
                                                   float* hi) noexcept {
  floats_of_ends<DType::kBFloat16>(ends, groups, lo, hi);
}

// torch's amin/amax of both ends at once: a NaN anywhere gives NaN for both. Of zeros of both signs
// the negative one is the smaller. size > 0, groups <= kGroupRun.
template <DType kDType>
void min_max(const void* data, std::int64_t begin, std::int64_t groups, std::int64_t size,
             float* lo, float* hi) noexcept {
  using Int = std::conditional_t<kDType == DType::kFloat32, std::int32_t, std::int16_t>;
  std::array<OrderedEnds<Int>, kGroupRun> ends;
  const Int* bits = static_cast<const Int*>(data) + begin;
  if constexpr (kDType == DType::kFloat32) {
    ends_of_32_bits(bits, groups, size, ends.data());
  } else {
    ends_of_16_bits(bits, groups, size, ends.data());
  }
  if constexpr (kDType == DType::kBFloat16) {
    floats_of_bf16_ends(ends.data(), groups, lo, hi);
  } else {
    floats_of_ends<kDType>(ends.data(), groups, lo, hi);
  }
}

template <MappingType kMapping, DType kDType>
[[gnu::always_inline]] inline BlockQParams choose_one(const ScaleChoice& c, float amin,
                                                      float amax) noexcept {
  const float lo = nan_min(amin, 0.0f);
  const float hi = nan_max(amax, 0.0f);
  const float qmin = static_cast<float>(c.range.min);
  const float qmax = static_cast<float>(c.range.max);
  float scale = 0.0f;
  if constexpr (kMapping == MappingType::kSymmetric) {
    scale = round_to(kDType, nan_max(-lo, hi) / ((qmax - qmin) / 2.0f));
  } else if constexpr (kMapping == MappingType::kSymmetricNoClippingErr) {
    const float from_lo = round_to(kDType, lo / qmin);
    const float from_hi = round_to(kDType, hi / qmax);
    scale = from_lo > from_hi ? from_lo : from_hi;
  } else {
    scale = round_to(kDType, round_to(kDType, hi - lo) / (qmax - qmin));
  }
  scale = scale < c.eps ? c.eps : scale;
  if constexpr (kMapping != MappingType::kAsymmetric) return {scale, 0};
  // lo / scale is no further from zero than the range is wide, infinite, or NaN.
  float zp = round_to(kDType, qmin - round_half_even(round_to(kDType, lo / scale)));
  zp = zp < qmin ? qmin : (zp > qmax ? qmax : zp);
  return {scale, static_cast<std::int8_t>(static_cast<int>(zp == zp ? zp : 0.0f))};
}

template <DType kDType>
[[gnu::always_inline]] inline void choose_all(const ScaleChoice& c, const float* lo,
                                              const float* hi, std::int64_t count,
                                              float* __restrict scale,
                                              std::int8_t* __restrict zero_point) noexcept {
  const auto run = [=]<MappingType kMapping>(ScaleChoice choice) __attribute__((always_inline)) {
    for (std::int64_t i = 0; i < count; ++i) {
      const BlockQParams q = choose_one<kMapping, kDType>(choice, lo[i], hi[i]);
      scale[i] = q.scale;
      zero_point[i] = q.zero_point;
    }
  };
  switch (c.mapping) {
    case MappingType::kSymmetric:
      return run.template operator()<MappingType::kSymmetric>(c);
    case MappingType::kSymmetricNoClippingErr:
      return run.template operator()<MappingType::kSymmetricNoClippingErr>(c);
    case MappingType::kAsymmetric:
      return run.template operator()<MappingType::kAsymmetric>(c);
  }
}

TORCHAO_CPP_VECTOR_CLONES void choose_bf16(const ScaleChoice& c, const float* lo, const float* hi,
                                           std::int64_t count, float* scale,
                                           std::int8_t* zero_point) noexcept {
  choose_all<DType::kBFloat16>(c, lo, hi, count, scale, zero_point);
}

TORCHAO_CPP_VECTOR_CLONES void choose_f32(const ScaleChoice& c, const float* lo, const float* hi,
                                          std::int64_t count, float* scale,
                                          std::int8_t* zero_point) noexcept {
  choose_all<DType::kFloat32>(c, lo, hi, count, scale, zero_point);
}

// round_to, but for NaN.
template <DType kProduct>
[[gnu::always_inline]] inline float round_number_to(float v) noexcept {
  if constexpr (kProduct != DType::kBFloat16) return round_to(kProduct, v);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(v);
  return std::bit_cast<float>((bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u);
}

// The hardware follows a long group by itself.
constexpr std::int64_t kShortGroup = 512;

// Asks for what the next round reads while this one computes.
template <DType kWeight>
[[gnu::always_inline]] inline void prefetch_ahead(const AffineGroups& w, std::int64_t first,
                                                  std::int64_t size) noexcept {
  constexpr std::int64_t kElementBytes = kWeight == DType::kFloat32 ? 4 : 2;
  constexpr std::int64_t kLineBytes = 64;
  const char* const next =
      static_cast<const char*>(w.weight) + (first + w.groups * w.size) * kElementBytes;
  for (std::int64_t at = 0; at < size * kElementBytes; at += kLineBytes)
    __builtin_prefetch(next + at);
}

// The codes' bounds less the zero point are whole numbers, so clamping to them before rounding
// gives what torchao's clamping at the end gives; a sum rounded to bfloat16 or float16 is exact
// wherever it is within the bounds.
template <DType kWeight, DType kProduct, bool kHasNan>
[[gnu::always_inline]] inline void quantize_one(const AffineGroups& w, std::int64_t g,
                                                std::int64_t size) noexcept {
  const float reciprocal = w.reciprocal[g];
  const int zero_point = w.zero_point[g];
  const float low = static_cast<float>(w.range.min - zero_point);
  const float high = static_cast<float>(w.range.max - zero_point);
  const std::int64_t first = w.begin + g * size;
  std::int8_t* const __restrict out = w.out + g * size;
  if (size <= kShortGroup) prefetch_ahead<kWeight>(w, first, size);
  for (std::int64_t i = 0; i < size; ++i) {
    const float product = load<kWeight>(w.weight, first + i) * reciprocal;
    float v = round_number_to<kProduct>(product);
    v = v < low ? low : v;
    v = v > high ? high : v;
    const std::uint32_t code = low_bits_of_rounded(v) + static_cast<std::uint32_t>(zero_point);
    out[i] = static_cast<std::int8_t>(!kHasNan || product == product ? code : 0u);
  }
}

template <DType kWeight, DType kProduct>
[[gnu::always_inline]] inline void quantize_all(const AffineGroups& w) noexcept {
  with_group_size(
      w.size, [&w](std::int64_t size) __attribute__((always_inline)) {
        const AffineGroups groups = w;
        for (std::int64_t g = 0; g < groups.groups; ++g) {
          if (groups.has_nan == nullptr || groups.has_nan[g]) {
            quantize_one<kWeight, kProduct, true>(groups, g, size);
          } else {
            quantize_one<kWeight, kProduct, false>(groups, g, size);
          }
        }
      });
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16(const AffineGroups& w) noexcept {
  quantize_all<DType::kBFloat16, DType::kBFloat16>(w);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16_by_f32(const AffineGroups& w) noexcept {
  quantize_all<DType::kBFloat16, DType::kFloat32>(w);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_f32(const AffineGroups& w) noexcept {
  quantize_all<DType::kFloat32, DType::kFloat32>(w);
}

template <DType kWeight>
void quantize_groups_of(const AffineGroups& w, bool product_is_float32) noexcept {
  if constexpr (kWeight == DType::kFloat32) {
    quantize_f32(w);
  } else if constexpr (kWeight == DType::kBFloat16) {
    product_is_float32 ? quantize_bf16_by_f32(w) : quantize_bf16(w);
  } else if (product_is_float32) {
    quantize_all<kWeight, DType::kFloat32>(w);
  } else {
    quantize_all<kWeight, kWeight>(w);
  }
}

[[gnu::always_inline]] inline bool is_finite(float v) noexcept {
  return (std::bit_cast<std::uint32_t>(v) & 0x7f800000u) != 0x7f800000u;
}

[[gnu::always_inline]] inline float reciprocal_in(DType dtype, float scale) noexcept {
  return round_to(dtype, 1.0f / scale);
}

template <DType kScale>
[[gnu::always_inline]] inline void store_scales_as(const ChosenScales& chosen, void* scales,
                                                   std::int64_t first) noexcept {
  const ChosenScales c = chosen;
  for (std::int64_t g = 0; g < c.count; ++g) c.values[g] = round_to(kScale, c.values[g]);
  for (std::int64_t g = 0; g < c.count; ++g) store_float(kScale, scales, first + g, c.values[g]);
  for (std::int64_t g = 0; g < c.count; ++g) c.values[g] = reciprocal_in(kScale, c.values[g]);
  // A product of finite factors is no NaN. Without &&: a branch would keep this from vectors.
  for (std::int64_t g = 0; g < c.count; ++g) {
    const int finite =
        int{is_finite(c.lo[g])} & int{is_finite(c.hi[g])} & int{is_finite(c.values[g])};
    c.has_nan[g] = finite == 0;
  }
}

TORCHAO_CPP_VECTOR_CLONES void store_scales_bf16(const ChosenScales& c, void* scales,
                                                 std::int64_t first) noexcept {
  store_scales_as<DType::kBFloat16>(c, scales, first);
}

TORCHAO_CPP_VECTOR_CLONES void store_scales_f32(const ChosenScales& c, void* scales,
                                                std::int64_t first) noexcept {
  store_scales_as<DType::kFloat32>(c, scales, first);
}

}  // namespace

void group_min_max(DType dtype, const void* data, std::int64_t begin, std::int64_t groups,
                   std::int64_t size, float* lo, float* hi) noexcept {
  for_dtype(dtype, [&]<DType kDType>() {
    for (std::int64_t g = 0; g < groups; g += kGroupRun) {
      min_max<kDType>(data, begin + g * size, std::min(kGroupRun, groups - g), size, lo + g,
                      hi + g);
    }
  });
}

void choose_scales(const ScaleChoice& c, const float* lo, const float* hi, std::int64_t count,
                   float* scale, std::int8_t* zero_point) noexcept {
  switch (c.dtype) {
    case DType::kBFloat16:
      return choose_bf16(c, lo, hi, count, scale, zero_point);
    case DType::kFloat16:
      return choose_all<DType::kFloat16>(c, lo, hi, count, scale, zero_point);
    default:
      return choose_f32(c, lo, hi, count, scale, zero_point);
  }
}

void store_scales(DType dtype, const ChosenScales& c, void* scales, std::int64_t first) noexcept {
  switch (dtype) {
    case DType::kBFloat16:
      return store_scales_bf16(c, scales, first);
    case DType::kFloat16:
      return store_scales_as<DType::kFloat16>(c, scales, first);
    default:
      return store_scales_f32(c, scales, first);
  }
}

float reciprocal_of_scale(DType scale_dtype, float scale) noexcept {
  return reciprocal_in(scale_dtype, scale);
}

void quantize_groups(DType dtype, const AffineGroups& groups, bool product_is_float32) noexcept {
  for_dtype(dtype, [&]<DType kDType>() { quantize_groups_of<kDType>(groups, product_is_float32); });
}

}  // namespace torchao_cpp
