// SPDX-License-Identifier: Apache-2.0
#include "core/nvfp4_quant.h"

#include <algorithm>

#include "base/vector_clones.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

constexpr DType kElement = DType::kFloat4E2M1FNx2;
constexpr DType kScale = DType::kFloat8E4M3FN;
constexpr float kMaxElement = 6.0f;
constexpr float kMaxScale = 448.0f;
constexpr float kMinScale = 0x1p-6f;  // the smallest normal e4m3

// Blocks that go through the buffer together.
constexpr std::int64_t kAtOnce = kBlockRun / kNVFP4BlockSize;

// Maxima to scales before they are encoded.
TORCHAO_CPP_VECTOR_CLONES void choose_scales(float* values, std::int64_t count,
                                             float per_tensor_scale) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    const float scale = values[i] / kMaxElement / per_tensor_scale;
    values[i] = scale < kMinScale ? kMinScale : scale;
  }
}

// Stored scales to what the values are multiplied with.
TORCHAO_CPP_VECTOR_CLONES void invert_scales(float* values, std::int64_t count,
                                             float numerator) noexcept {
  for (std::int64_t i = 0; i < count; ++i) values[i] = numerator / values[i];
}

}  // namespace

float nvfp4_per_tensor_scale(float abs_max) noexcept { return abs_max / (kMaxScale * kMaxElement); }

void quantize_nvfp4(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                    std::optional<float> per_tensor_scale, std::uint8_t* codes,
                    std::uint8_t* scales) noexcept {
  // A division by 1 changes nothing.
  const float divisor = per_tensor_scale.value_or(1.0f);
  const std::int64_t blocks = count / kNVFP4BlockSize;
  float values[kBlockRun];
  float factors[kAtOnce];
  for (std::int64_t b = 0; b < blocks; b += kAtOnce) {
    const std::int64_t in_run = std::min(kAtOnce, blocks - b);
    const std::int64_t first = b * kNVFP4BlockSize;
    block_abs_max(dtype, data, begin + first, in_run, kNVFP4BlockSize, factors);
    prefetch_elements(dtype, data, begin + first + kBlockRun, kBlockRun);
    choose_scales(factors, in_run, divisor);
    encode_floats(kScale, factors, in_run, scales + b);
    decode_floats(kScale, scales + b, in_run, factors);
    invert_scales(factors, in_run, 1.0f / divisor);
    load_floats(dtype, data, begin + first, in_run * kNVFP4BlockSize, values);
    multiply_blocks(factors, in_run, kNVFP4BlockSize, values);
    encode_packed(kElement, values, in_run * kNVFP4BlockSize, codes + first / 2);
  }
}

void dequantize_nvfp4(const std::uint8_t* codes, const std::uint8_t* scales, std::int64_t count,
                      float per_tensor_scale, DType dtype, void* out, std::int64_t begin) noexcept {
  float values[kNVFP4BlockSize];
  for (std::int64_t b = 0; b < count / kNVFP4BlockSize; ++b) {
    const std::int64_t first = b * kNVFP4BlockSize;
    const float scale = per_tensor_scale * decode_float(kScale, scales[b]);
    decode_packed(kElement, codes + first / 2, kNVFP4BlockSize, values);
    for (float& v : values) v *= scale;
    store_floats(dtype, out, begin + first, kNVFP4BlockSize, values);
  }
}

}  // namespace torchao_cpp
