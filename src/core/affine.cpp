// SPDX-License-Identifier: Apache-2.0
#include "core/affine.h"

#include <fmt/format.h>

#include <bit>
#include <limits>
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

  [[gnu::always_inline]] void take(const Int* bits, std::int64_t count) noexcept {
    Int low = kMagnitude;
    Int high = std::numeric_limits<Int>::min();
    for (std::int64_t i = 0; i < count; ++i) {
      const Int v = ordered(bits[i]);
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    lo = low;
    hi = high;
  }
  // Beyond the infinities are the NaNs of either sign.
  bool has_nan(Int infinity) const noexcept {
    return hi > infinity || lo < ordered(static_cast<Int>(infinity | ~kMagnitude));
  }

  Int lo = 0;
  Int hi = 0;
};

TORCHAO_CPP_VECTOR_CLONES OrderedEnds<std::int16_t> ends_of_16_bits(const std::int16_t* bits,
                                                                    std::int64_t count) noexcept {
  OrderedEnds<std::int16_t> ends;
  ends.take(bits, count);
  return ends;
}

TORCHAO_CPP_VECTOR_CLONES OrderedEnds<std::int32_t> ends_of_32_bits(const std::int32_t* bits,
                                                                    std::int64_t count) noexcept {
  OrderedEnds<std::int32_t> ends;
  ends.take(bits, count);
  return ends;
}

// torch's amin/amax of both ends at once: a NaN anywhere gives NaN for both. Of zeros of both signs
// the negative one is the smaller. count > 0.
template <DType kDType>
void min_max(const void* data, std::int64_t begin, std::int64_t count, float& lo,
             float& hi) noexcept {
  bool has_nan = false;
  if constexpr (kDType == DType::kFloat32) {
    const auto ends = ends_of_32_bits(static_cast<const std::int32_t*>(data) + begin, count);
    has_nan = ends.has_nan(0x7f800000);
    lo = std::bit_cast<float>(ends.ordered(ends.lo));
    hi = std::bit_cast<float>(ends.ordered(ends.hi));
  } else {
    const auto ends = ends_of_16_bits(static_cast<const std::int16_t*>(data) + begin, count);
    has_nan = ends.has_nan(kDType == DType::kBFloat16 ? 0x7f80 : 0x7c00);
    const std::int16_t both[2] = {ends.ordered(ends.lo), ends.ordered(ends.hi)};
    lo = load_float(kDType, both, 0);
    hi = load_float(kDType, both, 1);
  }
  if (has_nan) lo = hi = std::numeric_limits<float>::quiet_NaN();
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

BlockQParams choose_one(const Choice& c, float amin, float amax) noexcept {
  const auto rnd = [&c](float v) { return round_to(c.dtype, v); };
  const float lo = nan_min(amin, 0.0f);
  const float hi = nan_max(amax, 0.0f);
  const float qmin = static_cast<float>(c.range.min);
  const float qmax = static_cast<float>(c.range.max);
  float scale = 0.0f;
  switch (c.mapping) {
    case MappingType::kSymmetric:
      scale = rnd(nan_max(-lo, hi) / ((qmax - qmin) / 2.0f));
      break;
    case MappingType::kSymmetricNoClippingErr: {
      const float from_lo = rnd(lo / qmin);
      const float from_hi = rnd(hi / qmax);
      scale = from_lo > from_hi ? from_lo : from_hi;
      break;
    }
    case MappingType::kAsymmetric:
      scale = rnd(rnd(hi - lo) / (qmax - qmin));
      break;
  }
  scale = scale < c.eps ? c.eps : scale;
  if (c.mapping != MappingType::kAsymmetric) return {scale, 0};
  float zp = rnd(qmin - std::nearbyint(rnd(lo / scale)));
  zp = zp < qmin ? qmin : (zp > qmax ? qmax : zp);
  return {scale, zp == zp ? static_cast<std::int8_t>(zp) : std::int8_t{0}};
}

template <DType kWeight, DType kProduct>
[[gnu::always_inline]] inline void quantize_values(const void* weight, std::int64_t begin,
                                                   std::int64_t count, float reciprocal, float zp,
                                                   QuantRange range, std::int8_t* out) noexcept {
  const float qmin = static_cast<float>(range.min);
  const float qmax = static_cast<float>(range.max);
  for (std::int64_t i = 0; i < count; ++i) {
    float v = round_to(kProduct, load<kWeight>(weight, begin + i) * reciprocal);
    // Far outside every code range either way, and inside the range of round_half_even.
    v = v < -1024.0f ? -1024.0f : v;
    v = v > 1024.0f ? 1024.0f : v;
    v = round_to(kProduct, round_half_even(v) + zp);
    v = v < qmin ? qmin : v;
    v = v > qmax ? qmax : v;
    v = v == v ? v : 0.0f;
    out[i] = static_cast<std::int8_t>(static_cast<int>(v));
  }
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16(const void* weight, std::int64_t begin,
                                             std::int64_t count, float reciprocal, float zp,
                                             QuantRange range, std::int8_t* out) noexcept {
  quantize_values<DType::kBFloat16, DType::kBFloat16>(weight, begin, count, reciprocal, zp, range,
                                                      out);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_bf16_by_f32(const void* weight, std::int64_t begin,
                                                    std::int64_t count, float reciprocal, float zp,
                                                    QuantRange range, std::int8_t* out) noexcept {
  quantize_values<DType::kBFloat16, DType::kFloat32>(weight, begin, count, reciprocal, zp, range,
                                                     out);
}

TORCHAO_CPP_VECTOR_CLONES void quantize_f32(const void* weight, std::int64_t begin,
                                            std::int64_t count, float reciprocal, float zp,
                                            QuantRange range, std::int8_t* out) noexcept {
  quantize_values<DType::kFloat32, DType::kFloat32>(weight, begin, count, reciprocal, zp, range,
                                                    out);
}

template <DType kWeight, DType kProduct>
void quantize_run(const void* weight, std::int64_t begin, std::int64_t count, float reciprocal,
                  float zp, QuantRange range, std::int8_t* out) noexcept {
  if constexpr (kWeight == DType::kBFloat16 && kProduct == DType::kBFloat16) {
    quantize_bf16(weight, begin, count, reciprocal, zp, range, out);
  } else if constexpr (kWeight == DType::kBFloat16) {
    quantize_bf16_by_f32(weight, begin, count, reciprocal, zp, range, out);
  } else if constexpr (kWeight == DType::kFloat32) {
    quantize_f32(weight, begin, count, reciprocal, zp, range, out);
  } else {
    quantize_values<kWeight, kProduct>(weight, begin, count, reciprocal, zp, range, out);
  }
}

float load_zero_point(const Tensor& zero_point, std::int64_t i) noexcept {
  if (!zero_point.defined()) return 0.0f;
  if (zero_point.dtype() == DType::kInt8)
    return static_cast<float>(zero_point.data<std::int8_t>()[i]);
  return load_float(zero_point.dtype(), zero_point.bytes(), i);
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
      for (std::int64_t i = begin * columns; i < end * columns; ++i) {
        min_max<kDType>(weight.bytes(), i * block[1], block[1], lows[static_cast<std::size_t>(i)],
                        highs[static_cast<std::size_t>(i)]);
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
      const BlockQParams q = choose_one(choice, lo, hi);
      store_float(dtype, scale, i, q.scale);
      zero_point[i] = q.zero_point;
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
  const auto rows = [&]<DType kWeight, DType kProduct>(std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      const std::int64_t b = i / columns / block[0] * columns + i % columns;
      const float reciprocal =
          round_to(scale.dtype(), 1.0f / load_float(scale.dtype(), scale.bytes(), b));
      quantize_run<kWeight, kProduct>(weight.bytes(), i * block[1], block[1], reciprocal,
                                      load_zero_point(zero_point, b), range, out + i * block[1]);
    }
  };
  for_dtype(weight.dtype(), [&]<DType kWeight>() {
    parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
      if (product == kWeight) {
        rows.template operator()<kWeight, kWeight>(begin, end);
      } else {
        rows.template operator()<kWeight, DType::kFloat32>(begin, end);
      }
    });
  });
  return qdata;
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
  for_dtype(dtype, [&]<DType kDType>() { min_max<kDType>(data, begin, count, lo, hi); });
}

BlockQParams choose_block_qparams(DType dtype, MappingType mapping, QuantRange range, float eps,
                                  float amin, float amax) noexcept {
  return choose_one({mapping, range, dtype, eps}, amin, amax);
}

void quantize_block_affine(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                           DType scale_dtype, const BlockQParams& qparams, QuantRange range,
                           std::int8_t* out) noexcept {
  const float reciprocal = round_to(scale_dtype, 1.0f / qparams.scale);
  const float zero_point = static_cast<float>(qparams.zero_point);
  for_dtype(dtype, [&]<DType kDType>() {
    if (scale_dtype == kDType) {
      quantize_run<kDType, kDType>(data, begin, count, reciprocal, zero_point, range, out);
    } else {
      quantize_run<kDType, DType::kFloat32>(data, begin, count, reciprocal, zero_point, range, out);
    }
  });
}

bool is_all_zero(const Tensor& tensor) noexcept {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    if (load_zero_point(tensor, i) != 0.0f) return false;
  }
  return true;
}

}  // namespace torchao_cpp
