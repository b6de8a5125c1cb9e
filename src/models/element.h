// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/float_formats.h"
#include "torchao_cpp/dtype.h"

namespace torchao_cpp {

/// How elements of an activation dtype are stored, read as float32 and rounded to nearest even.
template <DType D>
struct Element;

template <>
struct Element<DType::kFloat32> {
  using Storage = float;
  static float load(Storage v) noexcept { return v; }
  static Storage store(float v) noexcept { return v; }
};

template <>
struct Element<DType::kFloat16> {
  using Storage = std::uint16_t;
  static float load(Storage v) noexcept { return f16_to_f32(v); }
  static Storage store(float v) noexcept { return f32_to_f16(v); }
};

template <>
struct Element<DType::kBFloat16> {
  using Storage = std::uint16_t;
  static float load(Storage v) noexcept { return bf16_to_f32(v); }
  static Storage store(float v) noexcept { return f32_to_bf16(v); }
};

/// The value after a trip through the storage of E.
template <typename E>
float rounded(float v) noexcept {
  return E::load(E::store(v));
}

/// Calls fn(Element<dtype>{}). `dtype` is float32, float16 or bfloat16.
template <typename F>
void with_element(DType dtype, const F& fn) noexcept {
  switch (dtype) {
    case DType::kFloat16:
      return fn(Element<DType::kFloat16>{});
    case DType::kBFloat16:
      return fn(Element<DType::kBFloat16>{});
    default:
      return fn(Element<DType::kFloat32>{});
  }
}

}  // namespace torchao_cpp
