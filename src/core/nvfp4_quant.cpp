// SPDX-License-Identifier: Apache-2.0
#include "core/nvfp4_quant.h"

#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

constexpr DType kElement = DType::kFloat4E2M1FNx2;
constexpr DType kScale = DType::kFloat8E4M3FN;
constexpr float kMaxElement = 6.0f;
constexpr float kMaxScale = 448.0f;
constexpr float kMinScale = 0x1p-6f;  // the smallest normal e4m3

}  // namespace

float nvfp4_per_tensor_scale(float abs_max) noexcept { return abs_max / (kMaxScale * kMaxElement); }

void quantize_nvfp4(DType dtype, const void* data, std::int64_t begin, std::int64_t count,
                    std::optional<float> per_tensor_scale, std::uint8_t* codes,
                    std::uint8_t* scales) noexcept {
  float values[kNVFP4BlockSize];
  for (std::int64_t b = 0; b < count / kNVFP4BlockSize; ++b) {
    const std::int64_t first = b * kNVFP4BlockSize;
    float scale = abs_max(dtype, data, begin + first, kNVFP4BlockSize) / kMaxElement;
    if (per_tensor_scale) scale = scale / *per_tensor_scale;
    scale = scale < kMinScale ? kMinScale : scale;
    encode_floats(kScale, &scale, 1, scales + b);
    const float stored = decode_float(kScale, scales[b]);
    const float factor = per_tensor_scale ? (1.0f / *per_tensor_scale) / stored : 1.0f / stored;
    load_floats(dtype, data, begin + first, kNVFP4BlockSize, values);
    for (float& v : values) v *= factor;
    encode_packed(kElement, values, kNVFP4BlockSize, codes + first / 2);
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
