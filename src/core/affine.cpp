// SPDX-License-Identifier: Apache-2.0
#include "core/affine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/parallel.h"
#include "core/affine_groups.h"
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
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * columns;
    group_min_max(dtype, weight.bytes(), first * block[1], (end - begin) * columns, block[1],
                  lows.data() + first, highs.data() + first);
  });
  const std::int64_t rows = n / block[0];
  AffineQParams out{Tensor::empty(dtype, {rows, columns}),
                    Tensor::empty(DType::kInt8, {rows, columns})};
  const ScaleChoice choice{mapping, range, dtype,
                           round_to(dtype, eps.value_or(smallest_normal(dtype)))};
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
      choose_scales(choice, &lo, &hi, 1, &s, zero_point + i);
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
  const bool product_is_float32 = promote_float(weight.dtype(), scale.dtype()) != weight.dtype();
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    std::array<float, kGroupRun> reciprocal;
    std::array<std::int8_t, kGroupRun> zeros;
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int64_t c = 0; c < columns; c += kGroupRun) {
        const std::int64_t count = std::min(kGroupRun, columns - c);
        const std::int64_t first = row / block[0] * columns + c;
        for (std::int64_t g = 0; g < count; ++g) {
          const auto at = static_cast<std::size_t>(g);
          reciprocal[at] = reciprocal_of_scale(scale.dtype(),
                                               load_float(scale.dtype(), scale.bytes(), first + g));
          zeros[at] = static_cast<std::int8_t>(load_zero_point(zero_point, first + g));
        }
        const std::int64_t at = row * k + c * block[1];
        quantize_groups(weight.dtype(),
                        {weight.bytes(), at, count, block[1], reciprocal.data(), zeros.data(),
                         nullptr, range, out + at},
                        product_is_float32);
      }
    }
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
  const ScaleChoice choice{mapping, range, dtype,
                           round_to(dtype, eps.value_or(smallest_normal(dtype)))};
  const bool product_is_float32 = promote_float(dtype, scale_dtype) != dtype;
  const std::int64_t at_once = groups_at_once(size);
  parallel_for(n, row_grain(k), [&](std::int64_t begin, std::int64_t end) {
    std::array<float, kGroupRun> lo;
    std::array<float, kGroupRun> hi;
    std::array<float, kGroupRun> values;  // scales, then their reciprocals
    std::array<bool, kGroupRun> has_nan;
    for (std::int64_t first = begin * columns; first < end * columns; first += at_once) {
      const std::int64_t count = std::min(at_once, end * columns - first);
      group_min_max(dtype, weight.bytes(), first * size, count, size, lo.data(), hi.data());
      choose_scales(choice, lo.data(), hi.data(), count, values.data(), zero_points + first);
      store_scales(scale_dtype, {lo.data(), hi.data(), count, values.data(), has_nan.data()},
                   scales, first);
      quantize_groups(dtype,
                      {weight.bytes(), first * size, count, size, values.data(),
                       zero_points + first, has_nan.data(), range, codes + first * size},
                      product_is_float32);
    }
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

BlockQParams choose_block_qparams(DType dtype, MappingType mapping, QuantRange range, float eps,
                                  float amin, float amax) noexcept {
  BlockQParams q;
  choose_scales({mapping, range, dtype, eps}, &amin, &amax, 1, &q.scale, &q.zero_point);
  return q;
}

void quantize_block_affine(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                           DType scale_dtype, const BlockQParams& qparams, QuantRange range,
                           std::int8_t* out) noexcept {
  const float reciprocal = reciprocal_of_scale(scale_dtype, qparams.scale);
  quantize_groups(dtype,
                  {data, begin, 1, count, &reciprocal, &qparams.zero_point, nullptr, range, out},
                  promote_float(dtype, scale_dtype) != dtype);
}

bool is_all_zero(const Tensor& tensor) noexcept {
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    if (load_zero_point(tensor, i) != 0.0f) return false;
  }
  return true;
}

}  // namespace torchao_cpp
