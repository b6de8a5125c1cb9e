// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "torchao_cpp/export.h"

namespace torchao_cpp {

/// Element types, named as torch names them. int1..int7, uint1..uint7 and the fp6 types are logical types of
/// weights: their codes are stored one a byte. float4_e2m1fn_x2 stores two codes a byte (even column low).
enum class DType : std::uint8_t {
  kFloat32,
  kFloat16,
  kBFloat16,
  kFloat64,
  kFloat8E4M3FN,
  kFloat8E5M2,
  kFloat8E4M3FNUZ,
  kFloat8E5M2FNUZ,
  kFloat8E8M0FNU,
  kFloat6E2M3,
  kFloat6E3M2,
  kFloat4E2M1FNx2,
  kBool,
  kUInt8,
  kUInt16,
  kUInt32,
  kUInt64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kComplex64,
  kInt1,
  kInt2,
  kInt3,
  kInt4,
  kInt5,
  kInt6,
  kInt7,
  kUInt1,
  kUInt2,
  kUInt3,
  kUInt4,
  kUInt5,
  kUInt6,
  kUInt7,
};

/// torch's name without "torch.", e.g. "bfloat16", "float8_e4m3fn"; "fp6_e2m3" and "fp6_e3m2" as torchao spells them.
TORCHAO_CPP_EXPORT std::string_view dtype_name(DType dtype) noexcept;

/// Inverse of dtype_name; nullopt for an unknown name.
TORCHAO_CPP_EXPORT std::optional<DType> dtype_from_name(std::string_view name) noexcept;

/// Accepts torch names and the short forms f32, f16, bf16, fp32, fp16, half, float; nullopt otherwise.
TORCHAO_CPP_EXPORT std::optional<DType> compute_dtype_from_name(std::string_view name) noexcept;

/// Bytes one stored element takes (1 for every sub-byte logical type).
TORCHAO_CPP_EXPORT std::int64_t dtype_size_bytes(DType dtype) noexcept;

/// True for float32, float16 and bfloat16: the dtypes of weights before quantization and of activations.
TORCHAO_CPP_EXPORT bool is_high_precision(DType dtype) noexcept;

/// B for intB (1..8), nullopt for anything else.
TORCHAO_CPP_EXPORT std::optional<int> signed_int_bits(DType dtype) noexcept;

}  // namespace torchao_cpp
