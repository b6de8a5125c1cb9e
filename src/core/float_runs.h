// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "torchao_cpp/dtype.h"

/// Runs of neighbouring values: widening, narrowing, maxima, and codes of the narrow float formats.
/// The loops under the float8, MX and NVFP4 quantizers. Nothing allocates; results are bit for bit
/// those of core/float_formats.h.
namespace torchao_cpp {

/// Values that callers process at a time in a buffer on the stack.
inline constexpr std::int64_t kFloatRun = 256;

/// The same for many small blocks, whose scales then fill vectors too.
inline constexpr std::int64_t kBlockRun = 1024;

/// `count` elements from `begin` of a float32, float16 or bfloat16 array as float32.
void load_floats(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                 float* out) noexcept;

/// Writes `count` float32 values to elements from `begin`, rounding to nearest even.
void store_floats(DType dtype, void* data, std::int64_t begin, std::int64_t count,
                  const float* values) noexcept;

/// max |x| of `count` elements from `begin`; NaN when there is one; 0 for none.
float abs_max(DType dtype, const void* data, std::int64_t begin, std::int64_t count) noexcept;

/// abs_max of each of `blocks` neighbouring blocks of `size` elements.
void block_abs_max(DType dtype, const void* data, std::int64_t begin, std::int64_t blocks,
                   std::int64_t size, float* out) noexcept;

/// Multiplies `blocks` neighbouring blocks of `size` values, each with its factor.
void multiply_blocks(const float* factors, std::int64_t blocks, std::int64_t size,
                     float* values) noexcept;

/// Asks for elements from `begin` that are read a little later; beyond the array it does nothing.
inline void prefetch_elements(DType dtype, const void* data, std::int64_t begin,
                              std::int64_t count) noexcept {
  const std::int64_t element_bytes = dtype_size_bytes(dtype);
  const std::int64_t end = (begin + count) * element_bytes;
  for (std::int64_t at = begin * element_bytes; at < end; at += 64)
    __builtin_prefetch(static_cast<const char*>(data) + at);
}

/// abs_max of `rows` rows of `columns` elements, `stride` apart, in parallel.
float abs_max_rows(DType dtype, const void* data, std::int64_t rows, std::int64_t columns,
                   std::int64_t stride) noexcept;

/// float32 -> codes of float8_e4m3fn, float8_e5m2, fp6_e2m3, fp6_e3m2 or float4_e2m1fn_x2, one a
/// byte: clamped to the largest finite value, rounded to nearest even, sign kept. NaN gives
/// float8's NaN; the formats without one give what torchao gives for the canonical NaN (fp4: 3,
/// fp6_e2m3: 12, fp6_e3m2: 14), under a scale that is NaN itself.
void encode_floats(DType element, const float* values, std::int64_t count,
                   std::uint8_t* codes) noexcept;

/// encode_floats of the quotients (rounded to float32) of `count` elements from `begin` by
/// `divisor`.
void encode_quotients(DType element, DType dtype, const void* data, std::int64_t begin,
                      std::int64_t count, float divisor, std::uint8_t* codes) noexcept;

/// Codes -> float32, one code a byte.
void decode_floats(DType element, const std::uint8_t* codes, std::int64_t count,
                   float* out) noexcept;

/// Bytes that hold `count` codes: count / 2 for float4_e2m1fn_x2, else count.
std::int64_t code_bytes(DType element, std::int64_t count) noexcept;

/// encode_floats, packed as stored: float4 takes two codes a byte, the even one in the low nibble
/// (count is even). count <= kBlockRun.
void encode_packed(DType element, const float* values, std::int64_t count,
                   std::uint8_t* bytes) noexcept;

/// Inverse of the packing: stored bytes -> `count` float32 values.
void decode_packed(DType element, const std::uint8_t* bytes, std::int64_t count,
                   float* out) noexcept;

/// Rows a thread takes at least when a row has `columns` values.
std::int64_t row_grain(std::int64_t columns) noexcept;

}  // namespace torchao_cpp
