// SPDX-License-Identifier: Apache-2.0
#include "core/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/float_formats.h"
#include "torchao_cpp/error.h"

namespace torchao_cpp {
namespace {

// Rows a thread takes at least: about 64K elements, below which starting threads costs more than
// the work.
std::int64_t row_grain(std::int64_t k) noexcept {
  const std::int64_t rows = 65536 / (k > 0 ? k : 1);
  return rows > 0 ? rows : 1;
}

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

// Groups that are looked at together: what is known of them lies on the stack.
constexpr std::int64_t kGroupRun = 64;

// Groups of `size` elements at a time for which the elements stay in the first cache.
std::int64_t groups_at_once(std::int64_t size) noexcept {
  constexpr std::int64_t kElements = 8192;
  return std::clamp<std::int64_t>(kElements / size, 1, kGroupRun);
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

// Minimum and maximum that keep a NaN of either side, as torch.min/max of two tensors do.
float nan_min(float a, float b) noexcept { return a != a ? a : (b != b ? b : (b < a ? b : a)); }
float nan_max(float a, float b) noexcept { return a != a ? a : (b != b ? b : (b > a ? b : a)); }

struct Choice {
  MappingType mapping;
  QuantRange range;
  DType dtype;
  float eps;
};

template <MappingType kMapping, DType kDType>
[[gnu::always_inline]] inline BlockQParams choose_one(const Choice& c, float amin,
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
[[gnu::always_inline]] inline void choose_all(const Choice& c, const float* lo, const float* hi,
                                              std::int64_t count, float* scale,
                                              std::int8_t* zero_point) noexcept {
  const auto run = [=]<MappingType kMapping>(Choice choice) __attribute__((always_inline)) {
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

TORCHAO_CPP_VECTOR_CLONES void choose_bf16(const Choice& c, const float* lo, const float* hi,
                                           std::int64_t count, float* scale,
                                           std::int8_t* zero_point) noexcept {
  choose_all<DType::kBFloat16>(c, lo, hi, count, scale, zero_point);
}

TORCHAO_CPP_VECTOR_CLONES void choose_f32(const Choice& c, const float* lo, const float* hi,
                                          std::int64_t count, float* scale,
                                          std::int8_t* zero_point) noexcept {
  choose_all<DType::kFloat32>(c, lo, hi, count, scale, zero_point);
}

void choose(const Choice& c, const float* lo, const float* hi, std::int64_t count, float* scale,
            std::int8_t* zero_point) noexcept {
  switch (c.dtype) {
    case DType::kBFloat16:
      return choose_bf16(c, lo, hi, count, scale, zero_point);
    case DType::kFloat16:
      return choose_all<DType::kFloat16>(c, lo, hi, count, scale, zero_point);
    default:
      return choose_f32(c, lo, hi, count, scale, zero_point);
  }
}

// Neighbouring groups of one size and what their codes follow from.
struct Groups {
  const void* weight;
  std::int64_t begin;  // first element
  std::int64_t groups;
  std::int64_t size;
  const float* reciprocal;
  const std::int8_t* zero_point;
  const bool* has_nan;  // whether a product may be NaN; null: any may
  QuantRange range;
  std::int8_t* out;
};

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
[[gnu::always_inline]] inline void prefetch_ahead(const Groups& w, std::int64_t first,
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
[[gnu::always_inline]] inline void quantize_one(const Groups& w, std::int64_t g,
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
[[gnu::always_inline]] inline void quantize_all(const Groups& w) noexcept {
  with_group_size(
      w.size, [&w](std::int64_t size) __attribute__((always_inline)) {
        const Groups groups = w;
        for (std::int64_t g = 0; g < groups.groups; ++g) {
          if (groups.has_nan == nullptr || groups.has_nan[g]) {
            quantize_one<kWeight, kProduct, true>(groups, g, size);
          } else {
            quantize_one<kWeight, kProduct, false>(groups, g, size);
          }
        }
      });
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16(const Groups& w) noexcept {
  quantize_all<DType::kBFloat16, DType::kBFloat16>(w);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16_by_f32(const Groups& w) noexcept {
  quantize_all<DType::kBFloat16, DType::kFloat32>(w);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_f32(const Groups& w) noexcept {
  quantize_all<DType::kFloat32, DType::kFloat32>(w);
}

template <DType kWeight>
void quantize_groups(const Groups& w, bool product_is_float32) noexcept {
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

float load_zero_point(const Tensor& zero_point, std::int64_t i) noexcept {
  if (!zero_point.defined()) return 0.0f;
  if (zero_point.dtype() == DType::kInt8)
    return static_cast<float>(zero_point.data<std::int8_t>()[i]);
  return load_float(zero_point.dtype(), zero_point.bytes(), i);
}

[[gnu::always_inline]] inline bool is_finite(float v) noexcept {
  return (std::bit_cast<std::uint32_t>(v) & 0x7f800000u) != 0x7f800000u;
}

[[gnu::always_inline]] inline float reciprocal_in(DType dtype, float scale) noexcept { return round_to(dtype, 1.0f / scale); }

// The ends of groups and their scales, which become the reciprocals of the stored scales.
struct ChosenScales {
  const float* lo;
  const float* hi;
  std::int64_t count;
  float* values;
  bool* has_nan;
};

template <DType kScale>
[[gnu::always_inline]] inline void store_scales_as(const ChosenScales& c, void* scales,
                                                   std::int64_t first) noexcept {
  for (std::int64_t g = 0; g < c.count; ++g) {
    const float scale = round_to(kScale, c.values[g]);
    store_float(kScale, scales, first + g, scale);
    const float reciprocal = reciprocal_in(kScale, scale);
    c.values[g] = reciprocal;
    // A product of finite factors is no NaN.
    c.has_nan[g] = !(is_finite(c.lo[g]) && is_finite(c.hi[g]) && is_finite(reciprocal));
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

float smallest_normal(DType dtype) noexcept {
  return dtype == DType::kFloat16 ? 0x1p-14f : 0x1p-126f;
}

}  // namespace

void check_weight_matrix(const Tensor& weight, std::string_view class_name) {
  if (weight.dim() != 2 || weight.numel() == 0) {
    throw ShapeError(fmt::format("{}: weight has shape {}; expected a non-empty 2-D weight [N, K]",
                                 class_name, shape_to_string(weight.shape())));
  }
  if (!is_high_precision(weight.dtype())) {
    throw UnsupportedError(fmt::format("{}: weight is {}; expected float32, float16 or bfloat16",
                                       class_name, dtype_name(weight.dtype())));
  }
}

BlockSize block_size_from_granularity(const Granularity& granularity, std::int64_t n,
                                      std::int64_t k) {
  if (std::holds_alternative<PerTensor>(granularity)) return {n, k};
  if (const auto* row = std::get_if<PerRow>(&granularity)) {
    if (row->dim == -1 || row->dim == 1) return {1, k};
    if (row->dim == 0 || row->dim == -2) return {n, 1};
  }
  if (const auto* axis = std::get_if<PerAxis>(&granularity)) {
    if (axis->axis == 0 || axis->axis == -2) return {1, k};
    if (axis->axis == 1 || axis->axis == -1) return {n, 1};
  }
  if (const auto* group = std::get_if<PerGroup>(&granularity)) {
    if (group->group_size <= 0 || k % group->group_size != 0) {
      throw ShapeError(fmt::format("Last dimension of input {} is not divisible by group size {}",
                                   k, group->group_size));
    }
    return {1, group->group_size};
  }
  if (const auto* block = std::get_if<PerBlock>(&granularity)) {
    const auto& b = block->block_size;
    if (b.size() != 2 || b[0] <= 0 || b[1] <= 0 || n % b[0] != 0 || k % b[1] != 0) {
      throw ShapeError(
          fmt::format("weight [{}, {}] is not divisible by {}", n, k, to_string(granularity)));
    }
    return {b[0], b[1]};
  }
  throw UnsupportedError(
      fmt::format("{} does not define the blocks of a weight [N, K]", to_string(granularity)));
}

AffineQParams choose_qparams_affine(const Tensor& weight, const BlockSize& block,
                                    MappingType mapping, QuantRange range,
                                    std::optional<float> eps) {
  const DType dtype = weight.dtype();
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t columns = k / block[1];
  // Ends of each row's part of a block; min and max of the parts are those of the block in any
  // order.
  std::vector<float> lows(static_cast<std::size_t>(n * columns));
  std::vector<float> highs(lows.size());
  for_dtype(dtype, [&]<DType kDType>() {
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * columns; i < end * columns; i += kGroupRun) {
        const std::int64_t count = std::min(kGroupRun, end * columns - i);
        min_max<kDType>(weight.bytes(), i * block[1], count, block[1], lows.data() + i,
                        highs.data() + i);
      }
    });
  });
  const std::int64_t rows = n / block[0];
  AffineQParams out{Tensor::empty(dtype, {rows, columns}),
                    Tensor::empty(DType::kInt8, {rows, columns})};
  const Choice choice{mapping, range, dtype, round_to(dtype, eps.value_or(smallest_normal(dtype)))};
  std::byte* scale = out.scale.mutable_bytes();
  auto* zero_point = out.zero_point.mutable_data<std::int8_t>();
  parallel_for(rows, row_grain(columns * block[0]), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      const std::int64_t first = i / columns * block[0] * columns + i % columns;
      float lo = lows[static_cast<std::size_t>(first)];
      float hi = highs[static_cast<std::size_t>(first)];
      for (std::int64_t r = 1; r < block[0]; ++r) {
        lo = nan_min(lo, lows[static_cast<std::size_t>(first + r * columns)]);
        hi = nan_max(hi, highs[static_cast<std::size_t>(first + r * columns)]);
      }
      float s = 0.0f;
      choose(choice, &lo, &hi, 1, &s, zero_point + i);
      store_float(dtype, scale, i, s);
    }
  });
  return out;
}

Tensor quantize_affine(const Tensor& weight, const BlockSize& block, const Tensor& scale,
                       const Tensor& zero_point, QuantRange range) {
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t columns = k / block[1];
  Tensor qdata = Tensor::empty(DType::kInt8, {n, k});
  auto* out = qdata.mutable_data<std::int8_t>();
  const DType product = promote_float(weight.dtype(), scale.dtype());
  for_dtype(weight.dtype(), [&]<DType kWeight>() {
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      std::array<float, kGroupRun> reciprocal;
      std::array<std::int8_t, kGroupRun> zeros;
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int64_t c = 0; c < columns; c += kGroupRun) {
          const std::int64_t count = std::min(kGroupRun, columns - c);
          const std::int64_t first = row / block[0] * columns + c;
          for (std::int64_t g = 0; g < count; ++g) {
            const auto at = static_cast<std::size_t>(g);
            reciprocal[at] =
                reciprocal_in(scale.dtype(), load_float(scale.dtype(), scale.bytes(), first + g));
            zeros[at] = static_cast<std::int8_t>(load_zero_point(zero_point, first + g));
          }
          const std::int64_t at = row * k + c * block[1];
          quantize_groups<kWeight>({weight.bytes(), at, count, block[1], reciprocal.data(),
                                    zeros.data(), nullptr, range, out + at},
                                   product != kWeight);
        }
      }
    });
  });
  return qdata;
}

AffineQuantized quantize_affine_weight(const Tensor& weight, const BlockSize& block,
                                       MappingType mapping, QuantRange range, DType scale_dtype,
                                       std::optional<float> eps) {
  if (block[0] != 1) {
    AffineQParams q = choose_qparams_affine(weight, block, mapping, range, eps);
    q.scale = q.scale.to(scale_dtype);
    Tensor qdata = quantize_affine(weight, block, q.scale, q.zero_point, range);
    return {std::move(qdata), std::move(q.scale), std::move(q.zero_point)};
  }
  const DType dtype = weight.dtype();
  const std::int64_t n = weight.shape()[0];
  const std::int64_t k = weight.shape()[1];
  const std::int64_t size = block[1];
  const std::int64_t columns = k / size;
  AffineQuantized out{Tensor::empty(DType::kInt8, {n, k}), Tensor::empty(scale_dtype, {n, columns}),
                      Tensor::empty(DType::kInt8, {n, columns})};
  auto* codes = out.qdata.mutable_data<std::int8_t>();
  std::byte* scales = out.scale.mutable_bytes();
  auto* zero_points = out.zero_point.mutable_data<std::int8_t>();
  const Choice choice{mapping, range, dtype, round_to(dtype, eps.value_or(smallest_normal(dtype)))};
  const bool product_is_float32 = promote_float(dtype, scale_dtype) != dtype;
  const std::int64_t at_once = groups_at_once(size);
  for_dtype(dtype, [&]<DType kDType>() {
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      std::array<float, kGroupRun> lo;
      std::array<float, kGroupRun> hi;
      std::array<float, kGroupRun> values;  // scales, then their reciprocals
      std::array<bool, kGroupRun> has_nan;
      for (std::int64_t first = begin * columns; first < end * columns; first += at_once) {
        const std::int64_t count = std::min(at_once, end * columns - first);
        min_max<kDType>(weight.bytes(), first * size, count, size, lo.data(), hi.data());
        choose(choice, lo.data(), hi.data(), count, values.data(), zero_points + first);
        store_scales(scale_dtype, {lo.data(), hi.data(), count, values.data(), has_nan.data()},
                     scales, first);
        quantize_groups<kDType>({weight.bytes(), first * size, count, size, values.data(),
                                 zero_points + first, has_nan.data(), range, codes + first * size},
                                product_is_float32);
      }
    });
  });
  return out;
}

Tensor dequantize_affine(const Tensor& qdata, const BlockSize& block, const Tensor& scale,
                         const Tensor& zero_point, DType output_dtype) {
  const std::int64_t n = qdata.shape()[0];
  const std::int64_t k = qdata.shape()[1];
  const std::int64_t columns = k / block[1];
  Tensor weight = Tensor::empty(output_dtype, {n, k});
  std::byte* out = weight.mutable_bytes();
  const auto* codes = qdata.data<std::int8_t>();
  for_dtype(output_dtype, [&]<DType kOutput>() {
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * columns; i < end * columns; ++i) {
        const std::int64_t b = i / columns / block[0] * columns + i % columns;
        const float s = load_float(scale.dtype(), scale.bytes(), b);
        const float zp = round_to(kOutput, load_zero_point(zero_point, b));
        for (std::int64_t j = i * block[1]; j < (i + 1) * block[1]; ++j) {
          // The promoted dtype is either the output dtype or float32, so storing is the only
          // rounding of the product.
          store_float(kOutput, out, j, round_to(kOutput, static_cast<float>(codes[j]) - zp) * s);
        }
      }
    });
  });
  return weight;
}

void block_min_max(DType dtype, const void* data, std::int64_t begin, std::int64_t count, float& lo,
                   float& hi) noexcept {
  group_min_max(dtype, data, begin, 1, count, &lo, &hi);
}

void group_min_max(DType dtype, const void* data, std::int64_t begin, std::int64_t groups,
                   std::int64_t size, float* lo, float* hi) noexcept {
  for_dtype(dtype, [&]<DType kDType>() {
    for (std::int64_t g = 0; g < groups; g += kGroupRun) {
      min_max<kDType>(data, begin + g * size, std::min(kGroupRun, groups - g), size, lo + g,
                      hi + g);
    }
  });
}

BlockQParams choose_block_qparams(DType dtype, MappingType mapping, QuantRange range, float eps,
                                  float amin, float amax) noexcept {
  BlockQParams q;
  choose({mapping, range, dtype, eps}, &amin, &amax, 1, &q.scale, &q.zero_point);
  return q;
}

void quantize_block_affine(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                           DType scale_dtype, const BlockQParams& qparams, QuantRange range,
                           std::int8_t* out) noexcept {
  const float reciprocal = reciprocal_in(scale_dtype, qparams.scale);
  for_dtype(dtype, [&]<DType kDType>() {
    quantize_groups<kDType>(
        {data, begin, 1, count, &reciprocal, &qparams.zero_point, nullptr, range, out},
        promote_float(dtype, scale_dtype) != dtype);
  });
}

bool is_all_zero(const Tensor& tensor) noexcept {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    if (load_zero_point(tensor, i) != 0.0f) return false;
  }
  return true;
}

}  // namespace torchao_cpp
