// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_dtype.h"

#include <array>

namespace torchao_cpp {
namespace {

// Order as observed in files of safetensors 0.8.
constexpr std::array<SafetensorsDType, 22> kDTypes{{
    {"BOOL", 8, DType::kBool, 0},
    {"F4", 4, std::nullopt, 1},
    {"F6_E2M3", 6, std::nullopt, 2},
    {"F6_E3M2", 6, std::nullopt, 3},
    {"U8", 8, DType::kUInt8, 4},
    {"I8", 8, DType::kInt8, 5},
    {"F8_E5M2", 8, DType::kFloat8E5M2, 6},
    {"F8_E4M3", 8, DType::kFloat8E4M3FN, 7},
    {"F8_E8M0", 8, DType::kFloat8E8M0FNU, 8},
    {"F8_E4M3FNUZ", 8, DType::kFloat8E4M3FNUZ, 9},
    {"F8_E5M2FNUZ", 8, DType::kFloat8E5M2FNUZ, 10},
    {"I16", 16, DType::kInt16, 11},
    {"U16", 16, DType::kUInt16, 12},
    {"F16", 16, DType::kFloat16, 13},
    {"BF16", 16, DType::kBFloat16, 14},
    {"I32", 32, DType::kInt32, 15},
    {"U32", 32, DType::kUInt32, 16},
    {"F32", 32, DType::kFloat32, 17},
    {"C64", 64, DType::kComplex64, 18},
    {"F64", 64, DType::kFloat64, 19},
    {"I64", 64, DType::kInt64, 20},
    {"U64", 64, DType::kUInt64, 21},
}};

}  // namespace

const SafetensorsDType* safetensors_dtype(std::string_view code) noexcept {
  for (const SafetensorsDType& d : kDTypes) {
    if (d.code == code) return &d;
  }
  return nullptr;
}

const SafetensorsDType* safetensors_dtype(DType dtype) noexcept {
  for (const SafetensorsDType& d : kDTypes) {
    if (d.dtype == dtype) return &d;
  }
  return nullptr;
}

}  // namespace torchao_cpp
