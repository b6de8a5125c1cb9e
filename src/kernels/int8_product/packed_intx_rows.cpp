// SPDX-License-Identifier: Apache-2.0
#include "kernels/int8_product/packed_intx_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/float_formats.h"
#include "core/float_runs.h"
#include "kernels/code_planes.h"

namespace torchao_cpp {
namespace {

// Sums of codes as they are stored, in two's complement.
TORCHAO_CPP_VECTOR_CLONES std::int64_t sum_of_bytes(const std::int8_t* codes,
                                                    std::int64_t count) noexcept {
  // In int32 a run cannot overflow.
  constexpr std::int64_t kRun = std::int64_t{1} << 16;
  std::int64_t sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += kRun) {
    std::int32_t part = 0;
    for (std::int64_t i = begin; i < std::min(begin + kRun, count); ++i) part += codes[i];
    sum += part;
  }
  return sum;
}

TORCHAO_CPP_VECTOR_CLONES std::int64_t sum_of_nibbles(const std::uint8_t* bytes,
                                                      std::int64_t count) noexcept {
  constexpr std::int64_t kRun = std::int64_t{1} << 16;
  std::int64_t sum = 0;
  for (std::int64_t begin = 0; begin < count; begin += kRun) {
    std::int32_t part = 0;
    for (std::int64_t i = begin; i < std::min(begin + kRun, count); ++i)
      part += ((bytes[i] & 15) ^ 8) + ((bytes[i] >> 4) ^ 8) - 16;
    sum += part;
  }
  return sum;
}

// Of `count` codes from code `first` of the whole weight on.
std::int64_t sum_of_codes(const QuantizedWeight& w, std::int64_t first,
                          std::int64_t count) noexcept {
  if (w.codes_per_byte == 1) return sum_of_bytes(w.qdata.data<std::int8_t>() + first, count);
  const auto* bytes = w.qdata.data<std::uint8_t>();
  const auto signed_nibble = [](int nibble) { return (nibble ^ 8) - 8; };
  std::int64_t sum = 0;
  if (first % 2 != 0 && count > 0) {
    sum += signed_nibble(bytes[first / 2] >> 4);
    ++first;
    --count;
  }
  if (count % 2 != 0) sum += signed_nibble(bytes[(first + count) / 2] & 15);
  return sum + sum_of_nibbles(bytes + first / 2, count / 2);
}

// Whether all zero points are codes themselves: then no difference leaves a signed byte.
bool zero_points_fit(const QuantizedWeight& w, int bits) noexcept {
  const auto* zeros = w.zero_point.data<std::int8_t>();
  const int low = -(1 << (bits - 1));
  return std::all_of(zeros, zeros + w.zero_point.numel(),
                     [&](std::int8_t z) { return z >= low && z < -low; });
}

}  // namespace

Support PackedIntxRows::supports(const QuantizedWeight& w, const IntxProduct& product) {
  const std::optional<int> bits = signed_int_bits(w.weight_dtype);
  if (!bits || *bits > product.max_bits)
    return Support::no(fmt::format("codes are {}", dtype_name(w.weight_dtype)));
  const std::int64_t columns = w.block_size[1];
  if (w.block_size[0] != 1 || (columns != w.input_size && !product.takes_groups(columns))) {
    return Support::no(
        fmt::format("groups of {} x {} codes", w.block_size[0], columns));
  }
  if (w.scale.dtype() != DType::kBFloat16 && w.scale.dtype() != DType::kFloat16 &&
      w.scale.dtype() != DType::kFloat32)
    return Support::no(fmt::format("scales are {}", dtype_name(w.scale.dtype())));
  if (w.zero_point_domain == ZeroPointDomain::kFloat ||
      (w.zero_point.defined() && w.zero_point.dtype() != DType::kInt8))
    return Support::no("zero points are no int8");
  if (w.zero_point.defined() && !zero_points_fit(w, *bits))
    return Support::no(fmt::format("zero points are not all int{}", *bits));
  if (!int_codes_fit(w, *bits))
    return Support::no(fmt::format("codes are not all int{}", *bits));
  return Support::yes();
}

PackedIntxRows::PackedIntxRows(const QuantizedWeight& w, const IntxProduct& product) {
  rows_.bits = *signed_int_bits(w.weight_dtype);
  rows_.columns = w.input_size;
  rows_.group_columns = w.block_size[1];
  rows_.groups = rows_.columns / rows_.group_columns;
  const CodePlanes planes(rows_.bits, static_cast<int>(product.plane_bytes), 1, rows_.columns);
  rows_.row_bytes = planes.row_bytes();
  codes_ = Tensor::empty(DType::kUInt8, {w.output_size, planes.row_bytes()});
  pack_code_planes(w, rows_.bits, planes, 1 << (rows_.bits - 1), codes_.mutable_bytes());
  rows_.codes = codes_.bytes();
  set_scales(w);
}

void PackedIntxRows::set_scales(const QuantizedWeight& w) {
  rows_.has_bfloat16_scales = w.scale.dtype() == DType::kBFloat16;
  scale_ = rows_.has_bfloat16_scales ? w.scale : w.scale.to(DType::kFloat32);
  rows_.scale = scale_.bytes();
  if (w.zero_point.defined()) {
    const auto* zeros = w.zero_point.data<std::int8_t>();
    const std::int64_t count = w.zero_point.numel();
    if (std::any_of(zeros, zeros + count, [](std::int8_t z) { return z != 0; })) {
      zero_.assign(zeros, zeros + count);
      rows_.zero = zero_.data();
    }
  }
  value_sums_.resize(static_cast<std::size_t>(w.output_size));
  parallel_for(w.output_size, row_grain(w.input_size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      double sum = 0;
      for (std::int64_t g = 0; g < rows_.groups; ++g) {
        const std::int64_t i = n * rows_.groups + g;
        std::int64_t codes =
            sum_of_codes(w, n * rows_.columns + g * rows_.group_columns, rows_.group_columns);
        if (rows_.zero != nullptr) codes -= rows_.zero[i] * rows_.group_columns;
        sum += static_cast<double>(codes) * load_float(scale_.dtype(), scale_.bytes(), i);
      }
      value_sums_[static_cast<std::size_t>(n)] = static_cast<float>(sum);
    }
  });
}

std::int64_t PackedIntxRows::nbytes() const noexcept {
  return codes_.nbytes() + scale_.nbytes() + static_cast<std::int64_t>(zero_.size()) +
         static_cast<std::int64_t>(value_sums_.size() * sizeof(float));
}

}  // namespace torchao_cpp
