// SPDX-License-Identifier: Apache-2.0
#include "workflows/nf4/nf4_quant.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/parallel.h"
#include "base/vector_clones.h"
#include "core/affine.h"
#include "core/float_formats.h"
#include "core/float_runs.h"

namespace torchao_cpp {
namespace {

constexpr std::array<float, 16> kTable{-1.0f,    -0.6962f, -0.5251f, -0.3949f, -0.2844f, -0.1848f,
                                       -0.0911f, 0.0f,     0.0796f,  0.1609f,  0.2461f,  0.3379f,
                                       0.4407f,  0.5626f,  0.7230f,  1.0f};

std::uint8_t nearest(DType dtype, float value, const std::array<float, 16>& table) noexcept {
  std::size_t best = 0;
  float best_distance = std::fabs(round_to(dtype, value - table[0]));
  for (std::size_t i = 1; i < table.size(); ++i) {
    const float distance = std::fabs(round_to(dtype, value - table[i]));
    if (distance < best_distance) {
      best = i;
      best_distance = distance;
    }
  }
  return static_cast<std::uint8_t>(best);
}

// The smallest quotient of each index but the first.
using Thresholds = std::array<float, 15>;

// Quotients lie between -1 and 1, where the nearest entry never falls as they rise. Floats order
// like the integers of their bits, but for the sign.
template <typename Bits>
Thresholds find_thresholds(DType dtype, Bits one, const std::array<float, 16>& table) noexcept {
  const auto value = [dtype](std::int64_t order) {
    const std::int64_t sign = order < 0 ? std::int64_t{1} << (8 * sizeof(Bits) - 1) : 0;
    const auto bits = static_cast<Bits>((order < 0 ? -order - 1 : order) | sign);
    return load_float(dtype, &bits, 0);
  };
  Thresholds thresholds{};
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    std::int64_t low = -std::int64_t{one} - 1;  // -1
    std::int64_t high = one;
    while (low < high) {
      const std::int64_t middle = low + (high - low) / 2;
      if (nearest(dtype, value(middle), table) > i) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    thresholds[i] = value(low);
  }
  return thresholds;
}

const Thresholds& thresholds_of(DType dtype) {
  const auto find = [](DType of, auto one) {
    std::array<float, 16> table;
    load_floats(of, nf4_table(of).bytes(), 0, 16, table.data());
    return find_thresholds(of, one, table);
  };
  static const Thresholds kBFloat16 = find(DType::kBFloat16, std::uint16_t{0x3f80});
  static const Thresholds kFloat16 = find(DType::kFloat16, std::uint16_t{0x3c00});
  static const Thresholds kFloat32 = find(DType::kFloat32, std::uint32_t{0x3f800000});
  return dtype == DType::kBFloat16 ? kBFloat16 : dtype == DType::kFloat16 ? kFloat16 : kFloat32;
}

TORCHAO_CPP_VECTOR_CLONES void divide(float* values, std::int64_t count, float divisor) noexcept {
  for (std::int64_t i = 0; i < count; ++i) values[i] /= divisor;
}

TORCHAO_CPP_VECTOR_CLONES void round_to_bf16(float* values, std::int64_t count) noexcept {
  for (std::int64_t i = 0; i < count; ++i) values[i] = round_to(DType::kBFloat16, values[i]);
}

// NaN is not above any threshold and gets index 0.
TORCHAO_CPP_VECTOR_CLONES void find_indices(const float* quotients, std::int64_t count,
                                            const Thresholds& thresholds,
                                            std::uint8_t* indices) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t index = 0;
    for (const float threshold : thresholds) index += quotients[i] >= threshold ? 1 : 0;
    indices[i] = static_cast<std::uint8_t>(index);
  }
}

TORCHAO_CPP_VECTOR_CLONES void pack_pairs(const std::uint8_t* indices, std::int64_t bytes,
                                          std::uint8_t* packed) noexcept {
  for (std::int64_t i = 0; i < bytes; ++i)
    packed[i] = static_cast<std::uint8_t>((indices[2 * i] << 4) | indices[2 * i + 1]);
}

}  // namespace

Tensor nf4_table(DType dtype) {
  return Tensor::from_values<float>(DType::kFloat32, {16}, kTable).to(dtype);
}

Tensor nf4_block_scalers(const Tensor& weight, std::int64_t block_size) {
  const std::int64_t blocks = weight.numel() / block_size;
  Tensor scalers = Tensor::empty(weight.dtype(), {blocks});
  std::byte* out = scalers.mutable_bytes();
  parallel_for(blocks, row_grain(block_size), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      store_float(weight.dtype(), out, b,
                  abs_max(weight.dtype(), weight.bytes(), b * block_size, block_size));
    }
  });
  return scalers;
}

Tensor nf4_indices(const Tensor& weight, const Tensor& scalers, std::int64_t block_size) {
  const DType dtype = weight.dtype();
  const Thresholds& thresholds = thresholds_of(dtype);
  Tensor packed = Tensor::empty(DType::kUInt8, {weight.numel() / 2});
  auto* out = packed.mutable_data<std::uint8_t>();
  parallel_for(scalers.numel(), row_grain(block_size), [&](std::int64_t begin, std::int64_t end) {
    float values[kFloatRun];
    std::uint8_t indices[kFloatRun];
    for (std::int64_t b = begin; b < end; ++b) {
      const float scaler = load_float(dtype, scalers.bytes(), b);
      for (std::int64_t done = 0; done < block_size; done += kFloatRun) {
        const std::int64_t count = std::min(kFloatRun, block_size - done);
        const std::int64_t first = b * block_size + done;
        load_floats(dtype, weight.bytes(), first, count, values);
        divide(values, count, scaler);
        if (dtype == DType::kBFloat16) {
          round_to_bf16(values, count);
        } else {
          for (std::int64_t i = 0; i < count; ++i) values[i] = round_to(dtype, values[i]);
        }
        find_indices(values, count, thresholds, indices);
        pack_pairs(indices, count / 2, out + first / 2);
      }
    }
  });
  return packed;
}

NF4Scalers quantize_nf4_scalers(const Tensor& scalers, std::int64_t scaler_block_size) {
  const DType dtype = scalers.dtype();
  const std::int64_t blocks = scalers.numel();
  const std::int64_t groups = blocks / scaler_block_size;
  NF4Scalers out{Tensor::empty(DType::kInt8, {blocks}), Tensor::empty(dtype, {groups}),
                 Tensor::empty(dtype, {})};
  // torch sums in another order; double makes the mean the exact one, within the last place of
  // torch's.
  double sum = 0.0;
  for (std::int64_t i = 0; i < blocks; ++i)
    sum += static_cast<double>(load_float(dtype, scalers.bytes(), i));
  store_float(dtype, out.mean.mutable_bytes(), 0,
              static_cast<float>(sum / static_cast<double>(blocks)));
  const float mean = load_float(dtype, out.mean.bytes(), 0);
  Tensor centred = Tensor::empty(dtype, {blocks});
  std::byte* differences = centred.mutable_bytes();
  for (std::int64_t i = 0; i < blocks; ++i) {
    store_float(dtype, differences, i, load_float(dtype, scalers.bytes(), i) - mean);
  }
  auto* codes = out.quantized.mutable_data<std::int8_t>();
  std::byte* factors = out.factor.mutable_bytes();
  for (std::int64_t g = 0; g < groups; ++g) {
    const float largest = abs_max(dtype, centred.bytes(), g * scaler_block_size, scaler_block_size);
    const float factor = round_to(dtype, 256.0f / round_to(dtype, 2.0f * largest));
    store_float(dtype, factors, g, factor);
    for (std::int64_t i = g * scaler_block_size; i < (g + 1) * scaler_block_size; ++i) {
      float v = std::nearbyint(round_to(dtype, load_float(dtype, centred.bytes(), i) * factor));
      v = v < -128.0f ? -128.0f : v;
      v = v > 127.0f ? 127.0f : v;
      codes[i] = v == v ? static_cast<std::int8_t>(v) : std::int8_t{0};
    }
  }
  return out;
}

Tensor dequantize_nf4_scalers(const NF4Scalers& scalers, std::int64_t scaler_block_size) {
  const DType dtype = scalers.mean.dtype();
  const float mean = load_float(dtype, scalers.mean.bytes(), 0);
  Tensor out = Tensor::empty(dtype, {scalers.quantized.numel()});
  std::byte* values = out.mutable_bytes();
  const auto* codes = scalers.quantized.data<std::int8_t>();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const float factor = load_float(dtype, scalers.factor.bytes(), i / scaler_block_size);
    store_float(dtype, values, i, round_to(dtype, static_cast<float>(codes[i]) / factor) + mean);
  }
  return out;
}

}  // namespace torchao_cpp
