// SPDX-License-Identifier: Apache-2.0
#include "torchao_cpp/dtype.h"

#include <array>

namespace torchao_cpp {
namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int size_bytes;
};

constexpr std::array kRows{
    Row{DType::kFloat32, "float32", 4},
    Row{DType::kFloat16, "float16", 2},
    Row{DType::kBFloat16, "bfloat16", 2},
    Row{DType::kFloat64, "float64", 8},
    Row{DType::kFloat8E4M3FN, "float8_e4m3fn", 1},
    Row{DType::kFloat8E5M2, "float8_e5m2", 1},
    Row{DType::kFloat8E4M3FNUZ, "float8_e4m3fnuz", 1},
    Row{DType::kFloat8E5M2FNUZ, "float8_e5m2fnuz", 1},
    Row{DType::kFloat8E8M0FNU, "float8_e8m0fnu", 1},
    Row{DType::kFloat6E2M3, "fp6_e2m3", 1},
    Row{DType::kFloat6E3M2, "fp6_e3m2", 1},
    Row{DType::kFloat4E2M1FNx2, "float4_e2m1fn_x2", 1},
    Row{DType::kBool, "bool", 1},
    Row{DType::kUInt8, "uint8", 1},
    Row{DType::kUInt16, "uint16", 2},
    Row{DType::kUInt32, "uint32", 4},
    Row{DType::kUInt64, "uint64", 8},
    Row{DType::kInt8, "int8", 1},
    Row{DType::kInt16, "int16", 2},
    Row{DType::kInt32, "int32", 4},
    Row{DType::kInt64, "int64", 8},
    Row{DType::kComplex64, "complex64", 8},
    Row{DType::kInt1, "int1", 1},
    Row{DType::kInt2, "int2", 1},
    Row{DType::kInt3, "int3", 1},
    Row{DType::kInt4, "int4", 1},
    Row{DType::kInt5, "int5", 1},
    Row{DType::kInt6, "int6", 1},
    Row{DType::kInt7, "int7", 1},
    Row{DType::kUInt1, "uint1", 1},
    Row{DType::kUInt2, "uint2", 1},
    Row{DType::kUInt3, "uint3", 1},
    Row{DType::kUInt4, "uint4", 1},
    Row{DType::kUInt5, "uint5", 1},
    Row{DType::kUInt6, "uint6", 1},
    Row{DType::kUInt7, "uint7", 1},
};

constexpr bool rows_are_in_enum_order() {
  for (std::size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<std::size_t>(kRows[i].dtype) != i) return false;
  }
  return true;
}
static_assert(rows_are_in_enum_order());

}  // namespace

std::string_view dtype_name(DType dtype) noexcept {
  return kRows[static_cast<std::size_t>(dtype)].name;
}

std::optional<DType> dtype_from_name(std::string_view name) noexcept {
  for (const Row& row : kRows) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::optional<DType> compute_dtype_from_name(std::string_view name) noexcept {
  if (name == "f32" || name == "fp32" || name == "float" || name == "float32") return DType::kFloat32;
  if (name == "f16" || name == "fp16" || name == "half" || name == "float16") return DType::kFloat16;
  if (name == "bf16" || name == "bfloat16") return DType::kBFloat16;
  return std::nullopt;
}

std::int64_t dtype_size_bytes(DType dtype) noexcept {
  return kRows[static_cast<std::size_t>(dtype)].size_bytes;
}

bool is_high_precision(DType dtype) noexcept {
  return dtype == DType::kFloat32 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

std::optional<int> signed_int_bits(DType dtype) noexcept {
  if (dtype == DType::kInt8) return 8;
  if (dtype >= DType::kInt1 && dtype <= DType::kInt7) {
    return static_cast<int>(dtype) - static_cast<int>(DType::kInt1) + 1;
  }
  return std::nullopt;
}

}  // namespace torchao_cpp
