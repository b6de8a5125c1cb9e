// SPDX-License-Identifier: Apache-2.0
#pragma once

// Sums to outputs, for the instruction set of the Simd included before; see kernels/epilogue.h.

#include <cstddef>
#include <cstring>

#include "kernels/epilogue.h"
#include "kernels/simd/row_helpers.h"

namespace torchao_cpp {
namespace {

TORCHAO_CPP_ALWAYS_INLINE Simd::Floats rounded(ValueRounding rounding, Simd::Floats v) {
  switch (rounding) {
    case ValueRounding::kBFloat16:
      return Simd::round_bfloat16(v);
    case ValueRounding::kFloat16:
      return Simd::round_float16(v);
    default:
      return v;
  }
}

/// kLanes elements of an array, fewer at its end.
class EpilogueElements {
 public:
  explicit EpilogueElements(ValueRounding dtype) : dtype_(dtype) {}

  std::int64_t bytes() const { return dtype_ == ValueRounding::kNone ? 4 : 2; }

  TORCHAO_CPP_ALWAYS_INLINE Simd::Floats load(const std::byte* p, std::int64_t count) const {
    alignas(64) std::byte rest[Simd::kLanes * 4] = {};
    if (count < Simd::kLanes) {
      std::memcpy(rest, p, static_cast<std::size_t>(count * bytes()));
      p = rest;
    }
    if (dtype_ == ValueRounding::kBFloat16) return Simd::load_bfloat16(p);
    if (dtype_ == ValueRounding::kFloat16) return Simd::load_float16(p);
    return Simd::load(reinterpret_cast<const float*>(p));
  }

  TORCHAO_CPP_ALWAYS_INLINE void store(std::byte* p, Simd::Floats v, std::int64_t count) const {
    if (count == Simd::kLanes) return store_all(p, v);
    alignas(64) std::byte rest[Simd::kLanes * 4];
    store_all(rest, v);
    std::memcpy(p, rest, static_cast<std::size_t>(count * bytes()));
  }

 private:
  TORCHAO_CPP_ALWAYS_INLINE void store_all(std::byte* p, Simd::Floats v) const {
    if (dtype_ == ValueRounding::kBFloat16) return Simd::store_bfloat16(p, Simd::quiet(v));
    if (dtype_ == ValueRounding::kFloat16) return Simd::store_float16(p, v);
    Simd::store(reinterpret_cast<float*>(p), v);
  }

  ValueRounding dtype_;
};

TORCHAO_CPP_ALWAYS_INLINE Simd::Floats load_columns(const float* p, std::int64_t count) {
  return count == Simd::kLanes ? Simd::load(p) : Simd::load_first(p, count);
}
// int32 columns as floats, and as they are (in a vector of floats).
TORCHAO_CPP_ALWAYS_INLINE Simd::Words load_columns(const std::int32_t* p, std::int64_t count) {
  return Simd::to_words(load_columns(reinterpret_cast<const float*>(p), count));
}

void finish_sums(const Epilogue& e, const EpilogueArgs& args, const SumBlock& block) noexcept {
  const EpilogueElements elements(e.output);
  const auto* bias = static_cast<const std::byte*>(args.bias);
  const auto round = [&](Simd::Floats v) __attribute__((always_inline)) {
    return e.compute == ValueRounding::kNone ? v : rounded(e.compute, Simd::quiet(v));
  };
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int64_t m = block.m0 + r;
    const float row_scale = args.row_scale == nullptr ? 1.0f : args.row_scale[m];
    const float zero =
        args.zero_point == nullptr ? 0.0f : static_cast<float>(args.zero_point[m]);
    const Simd::Floats scale = Simd::set1(row_scale);
    const Simd::Floats code_zero = Simd::set1(zero * row_scale);
    const Simd::Floats value_zero = Simd::set1(static_cast<float>(e.x_offset) + zero);
    std::byte* y = static_cast<std::byte*>(args.y) + m * args.y_stride * elements.bytes();
    const float* sums = static_cast<const float*>(block.sums) + r * block.columns;
    for (std::int64_t i = 0; i < block.columns; i += Simd::kLanes) {
      const std::int64_t count = smaller(Simd::kLanes, block.columns - i);
      const std::int64_t n = block.n0 + i;
      Simd::Floats v = load_columns(sums + i, count);
      if (e.has_int_sums) {
        Simd::Words sum = Simd::to_words(v);
        if (e.x_offset != 0)
          sum = Simd::subtract_product(sum, load_columns(e.code_sums + n, count), e.x_offset);
        v = Simd::from_ints(sum);
      }
      if (e.rounds_sum) v = round(v);
      if (e.value_sums != nullptr)
        v = Simd::sub(v, Simd::mul(value_zero, load_columns(e.value_sums + n, count)));
      v = Simd::mul(v, scale);
      if (e.rounds_scaled) v = round(v);
      if (e.has_code_zero) {
        const Simd::Floats codes = Simd::from_ints(load_columns(e.code_sums + n, count));
        v = round(Simd::sub(v, round(Simd::mul(code_zero, codes))));
      }
      if (e.column_scale != nullptr) v = Simd::mul(v, load_columns(e.column_scale + n, count));
      if (bias != nullptr) {
        if (e.rounds_before_bias) v = round(v);
        const Simd::Floats b = elements.load(bias + n * elements.bytes(), count);
        v = Simd::add(v, e.compute == e.output ? b : round(b));
      }
      if (e.compute != e.output) v = round(v);
      elements.store(y + n * elements.bytes(), v, count);
    }
  }
}

}  // namespace
}  // namespace torchao_cpp
